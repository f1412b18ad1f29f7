//! True least-recently-used replacement over a whole cache: what a set-associative one is compared with.

use std::collections::BTreeMap;

/// Hits of `trace` from its `from`th page on, in a cache of `capacity` pages that gives up the least recently used one.
pub fn hits(trace: &[u64], from: usize, capacity: usize) -> usize {
    let mut last_use = BTreeMap::new();
    let mut by_use = BTreeMap::new();
    let mut hits = 0;
    for (now, page) in trace.iter().enumerate() {
        if let Some(before) = last_use.insert(*page, now) {
            by_use.remove(&before);
            hits += usize::from(now >= from);
        } else if by_use.len() == capacity
            && let Some((_, oldest)) = by_use.pop_first()
        {
            last_use.remove(&oldest);
        }
        by_use.insert(now, *page);
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_page_goes() {
        // 1 is used again before 3 comes, so 2 goes.
        let trace = [1, 2, 1, 3, 1, 2, 3];
        assert_eq!(hits(&trace, 0, 2), 2);
        assert_eq!(hits(&trace, 3, 2), 1, "the trace before warms the cache");
        assert_eq!(hits(&trace, 0, 3), 4);
        assert_eq!(hits(&trace, 0, 1), 0);
    }
}
