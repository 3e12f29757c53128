//! Which policy holds for a request: by its path, in axum's route syntax, and by its tenant.

use std::{fmt, ops::Deref, sync::Arc};

use super::Policy;
use crate::key::Tenant;

#[derive(Clone)]
pub(crate) struct Routes {
    default: Arc<Policy>,
    /// None when there are no routes, so that the common case pays nothing.
    router: Option<matchit::Router<Arc<Policy>>>,
    /// What a tenant has in place of the default.
    of_tenant: Option<PolicyFor>,
}

pub(crate) type PolicyFor = Arc<dyn Fn(&Tenant) -> Option<Arc<Policy>> + Send + Sync>;

/// The policy that holds for a request.
pub(crate) enum Chosen<'a> {
    /// One that the layer was built with.
    Built(&'a Arc<Policy>),
    /// The tenant's own.
    OfTenant(Arc<Policy>),
}

impl Routes {
    pub(crate) fn new(default: Policy) -> Self {
        Self { default: Arc::new(default), router: None, of_tenant: None }
    }

    /// The policy of the paths that have none of their own.
    pub(crate) fn default_policy(&self) -> &Policy {
        &self.default
    }

    pub(crate) fn set_default(&mut self, default: Policy) {
        self.default = Arc::new(default);
    }

    pub(crate) fn set_of_tenant(&mut self, of_tenant: PolicyFor) {
        self.of_tenant = Some(of_tenant);
    }

    pub(crate) fn insert(&mut self, path: &str, policy: Policy) -> Result<(), matchit::InsertError> {
        self.router.get_or_insert_default().insert(path, Arc::new(policy))
    }

    /// The route's, or the tenant's, or the default.
    pub(crate) fn policy(&self, path: &str, tenant: &Tenant) -> Chosen<'_> {
        if let Some(found) = self.router.as_ref().and_then(|router| router.at(path).ok()) {
            return Chosen::Built(found.value);
        }
        // Nobody has a policy of their own whom nobody knows.
        let of_tenant = self.of_tenant.as_ref().filter(|_| !tenant.is_unidentified());
        of_tenant.and_then(|of_tenant| of_tenant(tenant)).map_or(Chosen::Built(&self.default), Chosen::OfTenant)
    }
}

impl Chosen<'_> {
    pub(crate) fn into_shared(self) -> Arc<Policy> {
        match self {
            Self::Built(policy) => Arc::clone(policy),
            Self::OfTenant(policy) => policy,
        }
    }
}

impl Deref for Chosen<'_> {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        match self {
            Self::Built(policy) => policy,
            Self::OfTenant(policy) => policy,
        }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes")
            .field("default", &self.default)
            .field("router", &self.router)
            .field("of_tenant", &self.of_tenant.as_ref().map(|_| ".."))
            .finish()
    }
}

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
