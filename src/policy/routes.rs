//! Which policy holds for a request: by its path, in axum's route syntax, and by its tenant.

use std::{fmt, ops::Deref, sync::Arc};

use super::Policy;
use crate::{
    key::Tenant,
    observe::{Route, RouteBook},
};

#[derive(Clone)]
pub(crate) struct Routes {
    default: Rule,
    /// None when there are no routes, so that the common case pays nothing.
    router: Option<matchit::Router<usize>>,
    /// By the numbers that the router knows.
    rules: Vec<Rule>,
    /// What a tenant has in place of the default.
    of_tenant: Option<PolicyFor>,
}

/// A policy, and what is counted and switched beside it.
#[derive(Clone)]
struct Rule {
    policy: Arc<Policy>,
    route: Arc<Route>,
}

pub(crate) type PolicyFor = Arc<dyn Fn(&Tenant) -> Option<Arc<Policy>> + Send + Sync>;

/// The policy that holds for a request.
pub(crate) struct Chosen<'a> {
    pub(crate) route: &'a Route,
    policy: Picked<'a>,
}

enum Picked<'a> {
    /// One that the layer was built with.
    Built(&'a Arc<Policy>),
    /// The tenant's own.
    OfTenant(Arc<Policy>),
}

impl Routes {
    pub(crate) fn new(default: Policy) -> Self {
        Self { default: Rule::new(default, DEFAULT), router: None, rules: Vec::new(), of_tenant: None }
    }

    /// The policy of the paths that have none of their own.
    pub(crate) fn default_policy(&self) -> &Policy {
        &self.default.policy
    }

    pub(crate) fn set_default(&mut self, default: Policy) {
        self.default = Rule::new(default, DEFAULT);
    }

    pub(crate) fn set_of_tenant(&mut self, of_tenant: PolicyFor) {
        self.of_tenant = Some(of_tenant);
    }

    pub(crate) fn insert(&mut self, path: &str, policy: Policy) -> Result<(), matchit::InsertError> {
        self.router.get_or_insert_default().insert(path, self.rules.len())?;
        self.rules.push(Rule::new(policy, path));
        Ok(())
    }

    /// Counts and switches with the other routes of the cache that have the same name.
    pub(crate) fn enter(&mut self, book: &RouteBook) {
        for rule in [&mut self.default].into_iter().chain(&mut self.rules) {
            rule.route = book.named(rule.route.name());
        }
    }

    /// The route's, or the tenant's, or the default.
    pub(crate) fn policy(&self, path: &str, tenant: &Tenant) -> Chosen<'_> {
        if let Some(rule) = self.rule(path) {
            return Chosen { route: &rule.route, policy: Picked::Built(&rule.policy) };
        }
        // Nobody has a policy of their own whom nobody knows.
        let of_tenant = self.of_tenant.as_ref().filter(|_| !tenant.is_unidentified());
        let own = of_tenant.and_then(|of_tenant| of_tenant(tenant));
        let policy = own.map_or(Picked::Built(&self.default.policy), Picked::OfTenant);
        Chosen { route: &self.default.route, policy }
    }

    /// Where requests for this path are counted.
    pub(crate) fn route(&self, path: &str) -> &Route {
        &self.rule(path).unwrap_or(&self.default).route
    }

    fn rule(&self, path: &str) -> Option<&Rule> {
        self.rules.get(*self.router.as_ref()?.at(path).ok()?.value)
    }
}

impl Rule {
    fn new(policy: Policy, name: &str) -> Self {
        let route = Route::new(policy.label_or(name));
        Self { policy: Arc::new(policy), route }
    }
}

impl Chosen<'_> {
    pub(crate) fn into_shared(self) -> Arc<Policy> {
        match self.policy {
            Picked::Built(policy) => Arc::clone(policy),
            Picked::OfTenant(policy) => policy,
        }
    }
}

impl Deref for Chosen<'_> {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        match &self.policy {
            Picked::Built(policy) => policy,
            Picked::OfTenant(policy) => policy,
        }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<_> = self.rules.iter().map(|rule| (rule.route.name(), &rule.policy)).collect();
        f.debug_struct("Routes")
            .field("default", &self.default.policy)
            .field("rules", &rules)
            .field("of_tenant", &self.of_tenant.as_ref().map(|_| ".."))
            .finish()
    }
}

/// The name of the route of all paths that have none of their own.
const DEFAULT: &str = "default";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lasting(seconds: u64) -> Policy {
        Policy::new().default_freshness(Duration::from_secs(seconds))
    }

    #[test]
    fn a_path_has_the_policy_of_its_route_or_the_default() {
        let mut routes = Routes::new(lasting(1));
        routes.insert("/reports/{id}", lasting(30)).unwrap();
        routes.insert("/static/{*rest}", lasting(60)).unwrap();

        let table = [("/", 1), ("/reports", 1), ("/reports/7", 30), ("/reports/7/x", 1), ("/static/a/b", 60)];
        for (path, seconds) in table {
            let policy = routes.policy(path, &Tenant::shared());
            assert_eq!(policy.default_freshness, Some(Duration::from_secs(seconds)), "{path}");
        }
    }

    #[test]
    fn a_routes_policy_goes_before_the_tenants_and_that_before_the_default() {
        let mut routes = Routes::new(lasting(1));
        routes.insert("/reports/{id}", lasting(30)).unwrap();
        let own = Arc::new(lasting(5));
        routes.set_of_tenant(Arc::new(move |tenant| {
            assert!(!tenant.is_unidentified(), "nobody asks for them");
            (tenant.name() == Some("acme")).then(|| Arc::clone(&own))
        }));

        let acme = Tenant::named("acme");
        let table = [
            ("/", &acme, 5),
            ("/reports/7", &acme, 30),
            ("/", &Tenant::named("other"), 1),
            ("/", &Tenant::shared(), 1),
            ("/", &Tenant::unidentified(), 1),
        ];
        for (path, tenant, seconds) in table {
            let policy = routes.policy(path, tenant).into_shared();
            assert_eq!(policy.default_freshness, Some(Duration::from_secs(seconds)), "{path} {tenant:?}");
        }
    }
}
