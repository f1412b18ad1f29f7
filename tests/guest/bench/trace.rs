//! Streams of page numbers; a seed always gives the same one.

use fastrand::Rng;

/// `length` pages of `pages`, each as likely as any other.
pub fn uniform(pages: u64, length: usize, seed: u64) -> Vec<u64> {
    let mut random = Rng::with_seed(seed);
    (0..length).map(|_| random.u64(..pages)).collect()
}

/// `length` pages of `pages`, the nth most popular as likely as n^-0.99. Popularity has nothing to do with place.
pub fn zipf(pages: u64, length: usize, seed: u64) -> Vec<u64> {
    let mut random = Rng::with_seed(seed);
    let mut places: Vec<u64> = (0..pages).collect();
    random.shuffle(&mut places);
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=pages)
        .map(|rank| {
            sum += (rank as f64).powf(-0.99);
            sum
        })
        .collect();
    (0..length)
        .map(|_| {
            let at = random.f64() * sum;
            let rank = sums.partition_point(|sum| *sum <= at);
            places.get(rank).copied().unwrap_or(0)
        })
        .collect()
}
