//! Which keys are asked for.

/// A way of asking.
#[derive(Clone, Copy)]
pub(crate) struct Mix {
    pub(crate) name: &'static str,
    pub(crate) exponent: f64,
    pub(crate) event: Event,
}

/// What happens after half of the requests.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Event {
    Nothing,
    /// For a while each second request is for a key that nobody asks for again.
    Scan,
    /// From one request to the next, other keys are popular.
    Change,
}

pub(crate) const MIXES: [Mix; 4] = [
    Mix { name: "Zipf 0.8", exponent: 0.8, event: Event::Nothing },
    Mix { name: "Zipf 1.0", exponent: 1.0, event: Event::Nothing },
    Mix { name: "1.0, a scan", exponent: 1.0, event: Event::Scan },
    Mix { name: "1.0, a change", exponent: 1.0, event: Event::Change },
];
