//! Counters of answers for the metrics: one relaxed addition for each request, two where the answer
//! is a problem.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

use super::code::Code;

/// The listener that a request came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    /// The listener of `http.listen`.
    Public,
    /// The listener of `http.operations_listen`.
    Operations,
}

impl Listener {
    const ALL: [Self; 2] = [Self::Public, Self::Operations];

    fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Operations => "operations",
        }
    }
}

/// Classes of answers by the first digit of the status. No answer of ours has a status below 200.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The counters of one gateway. A request whose client went away before the answer is in none of
/// them.
pub(super) struct ResponseMetrics {
    classes: [[AtomicU64; CLASSES.len()]; Listener::ALL.len()],
    problems: [AtomicU64; Code::ALL.len()],
}

impl Default for ResponseMetrics {
    fn default() -> Self {
        Self {
            classes: Default::default(),
            problems: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

impl ResponseMetrics {
    pub(super) fn count(&self, listener: Listener, status: StatusCode, problem: Option<Code>) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(2).min(CLASSES.len() - 1);
        self.classes[listener as usize][class].fetch_add(1, Ordering::Relaxed);
        if let Some(code) = problem {
            self.problems[code as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Listener, class and count.
    pub(super) fn classes(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        Listener::ALL.iter().zip(&self.classes).flat_map(|(listener, counts)| {
            let counts = CLASSES.iter().zip(counts);
            counts.map(|(class, n)| (listener.name(), *class, n.load(Ordering::Relaxed)))
        })
    }

    /// Code of a problem, and count.
    pub(super) fn problems(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Code::ALL.iter().zip(&self.problems);
        counts.map(|(code, n)| (code.as_str(), n.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_the_place_of_its_own() {
        for (place, code) in Code::ALL.iter().enumerate() {
            assert_eq!(*code as usize, place, "{}", code.as_str());
        }
        for (place, listener) in Listener::ALL.iter().enumerate() {
            assert_eq!(*listener as usize, place);
        }
    }

    #[test]
    fn an_answer_counts_for_its_class_and_a_problem_for_its_code() {
        let response_metrics = ResponseMetrics::default();
        response_metrics.count(Listener::Public, StatusCode::CREATED, None);
        response_metrics.count(Listener::Public, StatusCode::TEMPORARY_REDIRECT, None);
        response_metrics.count(Listener::Operations, StatusCode::NOT_FOUND, Some(Code::NotFound));
        response_metrics.count(Listener::Public, StatusCode::SERVICE_UNAVAILABLE, Some(Code::Busy));
        let classes: Vec<_> = response_metrics.classes().filter(|counted| counted.2 > 0).collect();
        let expected = [
            ("public", "2xx", 1),
            ("public", "3xx", 1),
            ("public", "5xx", 1),
            ("operations", "4xx", 1),
        ];
        assert_eq!(classes, expected);
        let problems: Vec<_> =
            response_metrics.problems().filter(|counted| counted.1 > 0).collect();
        assert_eq!(problems, [("not_found", 1), ("busy", 1)]);
    }
}
