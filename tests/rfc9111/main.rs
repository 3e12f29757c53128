//! The standard, sentence by sentence: what a shared cache must do, may do, and must not do (RFC 9111, RFC 5861,
//! RFC 8246, RFC 9213, and what of RFC 9110 concerns a cache).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "each theme uses its part")]
#[path = "../common/mod.rs"]
mod common;
mod exchange;

mod rfc5861_stale;
mod rfc8246_immutable;
mod rfc9110_13_conditions;
mod rfc9110_14_ranges;
mod rfc9213_targeted;
mod section_3_1_fields;
mod section_3_2_updating;
mod section_3_3_incomplete;
mod section_3_5_authorization;
mod section_3_storing;
mod section_4_1_vary;
mod section_4_2_1_lifetime;
mod section_4_2_2_heuristic;
mod section_4_2_3_age;
mod section_4_2_4_stale;
mod section_4_3_1_asking;
mod section_4_3_2_asked;
mod section_4_3_3_answers;
mod section_4_3_4_freshening;
mod section_4_3_5_head;
mod section_4_4_invalidation;
mod section_4_reuse;
mod section_5_1_age;
mod section_5_2_1_requests;
mod section_5_2_2_responses;
mod section_5_2_3_extensions;
mod section_5_3_expires;
mod section_5_4_pragma;
