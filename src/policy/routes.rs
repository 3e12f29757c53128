//! Which policy holds for a path, in axum's route syntax.

use std::sync::Arc;

use super::Policy;

#[derive(Clone, Debug)]
pub(crate) struct Routes {
    default: Arc<Policy>,
    /// None when there are no routes, so that the common case pays nothing.
    router: Option<matchit::Router<Arc<Policy>>>,
}

impl Routes {
    pub(crate) fn new(default: Policy) -> Self {
        Self { default: Arc::new(default), router: None }
    }

    pub(crate) fn set_default(&mut self, default: Policy) {
        self.default = Arc::new(default);
    }

    pub(crate) fn insert(&mut self, path: &str, policy: Policy) -> Result<(), matchit::InsertError> {
        self.router.get_or_insert_default().insert(path, Arc::new(policy))
    }

    pub(crate) fn policy(&self, path: &str) -> &Arc<Policy> {
        let found = self.router.as_ref().and_then(|router| router.at(path).ok());
        found.map_or(&self.default, |found| found.value)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_path_has_the_policy_of_its_route_or_the_default() {
        let lasting = |seconds| Policy::new().default_freshness(Duration::from_secs(seconds));
        let mut routes = Routes::new(lasting(1));
        routes.insert("/reports/{id}", lasting(30)).unwrap();
        routes.insert("/static/{*rest}", lasting(60)).unwrap();

        let table = [("/", 1), ("/reports", 1), ("/reports/7", 30), ("/reports/7/x", 1), ("/static/a/b", 60)];
        for (path, seconds) in table {
            assert_eq!(routes.policy(path).default_freshness, Some(Duration::from_secs(seconds)), "{path}");
        }
    }
}
