//! The little statistics that the results need.

/// Resamples of a bootstrap.
const RESAMPLES: usize = 4000;

/// The middle value; of an even number the mean of the two in the middle. `NaN` of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// A ratio and the interval that holds it with 95 % confidence.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    pub estimate: f64,
    pub low: f64,
    pub high: f64,
}

/// The ratio of the medians of two measurements of the same rounds, with a percentile bootstrap interval: rounds
/// are drawn, so that what belongs together in time stays together.
pub fn ratio_of_medians(with: &[f64], without: &[f64]) -> Interval {
    let ratio = |rounds: &[usize]| {
        let pick = |values: &[f64]| median(&rounds.iter().map(|r| values[*r]).collect::<Vec<_>>());
        pick(with) / pick(without)
    };
    let count = with.len().min(without.len());
    let all: Vec<usize> = (0..count).collect();
    let mut random = fastrand::Rng::with_seed(1);
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| ratio(&(0..count).map(|_| random.usize(..count)).collect::<Vec<_>>()))
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[((RESAMPLES - 1) as f64 * share).round() as usize];
    Interval { estimate: ratio(&all), low: at(0.025), high: at(0.975) }
}

/// Draws ranks 0, 1, 2, ... with weights 1, 1/2, 1/3, ... (Zipf's law with s = 1).
#[derive(Clone)]
pub struct Zipf {
    cumulated: Vec<f64>,
}

impl Zipf {
    pub fn new(ranks: usize) -> Self {
        let mut sum = 0.0;
        let weights = (1..=ranks).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self { cumulated: weights.collect() }
    }

    pub fn draw(&self, random: &mut fastrand::Rng) -> usize {
        let total = self.cumulated.last().copied().unwrap_or_default();
        let point = random.f64() * total;
        self.cumulated.partition_point(|sum| *sum <= point).min(self.cumulated.len() - 1)
    }
}
