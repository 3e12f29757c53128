//! What a policy prints: all that it says, but for closures.

use std::fmt;

use super::Policy;

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("default_freshness", &self.default_freshness)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("key", &self.key)
            .field("collapse", &self.collapse)
            .field("content", &self.content)
            .field("admit_after", &self.admit_after)
            .field("only_keyed_input", &self.only_keyed_input)
            .field("irrelevant_fields", &self.irrelevant_fields)
            .field("heuristic_freshness", &self.heuristic_freshness)
            .field("targeted_fields", &self.targeted_fields)
            .field("stale_while_revalidate", &self.stale_while_revalidate)
            .field("stale_if_error", &self.stale_if_error)
            .field("overrides_revalidation", &self.overrides_revalidation)
            .field("ages_from_arrival", &self.ages_from_arrival)
            .field("honours_requests", &self.honours_requests)
            .field("cookies", &self.cookies)
            .field("tagging", &self.tagging)
            .field("bypass", &self.bypass.as_ref().map(|_| ".."))
            .field("shows", &self.shows)
            .finish()
    }
}
