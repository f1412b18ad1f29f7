//! Campaigns of random guests: every seed gives a plan and a list of actions, and a failure is shrunk to what still fails.
//!
//! `SEED=n` runs one guest again, `GUESTS=n` changes how many there are.

#![allow(clippy::panic, reason = "a campaign is a test, and a failed one panics")]

use core::fmt::Debug;
use core::panic::AssertUnwindSafe;
use std::panic::{catch_unwind, set_hook, take_hook};

use fastrand::Rng;

/// Runs `guests` guests, or those that the environment asks for, and gives what each came to.
///
/// # Panics
/// At the first guest that fails, with its seed, its plan, the fewest of its actions that still fail, and why.
pub fn run<P: Debug, A: Clone + Debug, T>(
    guests: u64,
    make: impl Fn(&mut Rng) -> (P, Vec<A>),
    guest: impl Fn(&P, &[A]) -> Result<T, String>,
) -> Vec<T> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("GUESTS").unwrap_or(guests),
    };
    let attempt = |plan: &P, actions: &[A]| caught(|| guest(plan, actions));
    seeds
        .map(|seed| {
            let (plan, actions) = make(&mut Rng::with_seed(seed));
            attempt(&plan, &actions).unwrap_or_else(|first| {
                set_hook(Box::new(|_| {}));
                let (actions, last) = shrink(|fewer| attempt(&plan, fewer).err(), actions, first);
                let _ = take_hook();
                let list: String = actions.iter().map(|action| format!("\n  {action:x?}")).collect();
                panic!("SEED={seed} {plan:x?}{list}\n{last}")
            })
        })
        .collect()
}

/// A panic on the way is a failure like another.
fn caught<T>(guest: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(guest)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}

/// Leaves out ever smaller pieces of the list as long as it still fails.
fn shrink<A: Clone>(
    fails: impl Fn(&[A]) -> Option<String>,
    mut actions: Vec<A>,
    mut failure: String,
) -> (Vec<A>, String) {
    let mut piece = actions.len();
    while piece > 0 {
        let mut start = 0;
        while start < actions.len() {
            let mut fewer = actions.clone();
            fewer.drain(start..(start + piece).min(actions.len()));
            match fails(&fewer) {
                Some(found) => (actions, failure) = (fewer, found),
                None => start += piece,
            }
        }
        piece /= 2;
    }
    (actions, failure)
}

#[cfg(test)]
mod tests {
    use super::shrink;

    #[test]
    fn a_failure_shrinks_to_the_actions_that_it_needs() {
        let fails = |list: &[u32]| (list.contains(&3) && list.contains(&40)).then(|| "both".to_owned());
        assert_eq!(shrink(fails, (0..60).collect(), String::new()), (vec![3, 40], "both".to_owned()));
    }
}
