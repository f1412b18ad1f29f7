//! A piece of work that is measured as a whole.

use super::world::World;

/// Laps of the same work. Only [`Segment::run`] is measured.
pub trait Segment {
    /// Brings the world into the state that a lap begins with.
    fn ready(&mut self);
    /// One lap; what it returns depends on all of its answers.
    fn run(&mut self) -> u64;
}

struct Laps<S, Ready, Run> {
    world: World<S>,
    ready: Ready,
    run: Run,
}

impl<S, Ready: FnMut(&mut World<S>), Run: FnMut(&mut World<S>) -> u64> Segment for Laps<S, Ready, Run> {
    fn ready(&mut self) {
        (self.ready)(&mut self.world);
    }

    fn run(&mut self) -> u64 {
        (self.run)(&mut self.world)
    }
}

/// A segment of two closures on a world.
pub fn segment<S: 'static>(
    world: World<S>,
    ready: impl FnMut(&mut World<S>) + 'static,
    run: impl FnMut(&mut World<S>) -> u64 + 'static,
) -> Box<dyn Segment> {
    Box::new(Laps { world, ready, run })
}

/// Nothing to prepare.
pub fn steady<S>(_: &mut World<S>) {}
