//! The benchmarks do what their names say, and the yardstick is a device.

use core::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;

use smmuv3::{Smmu, Step, Trace};
use smmuv3_tests::bench::counts::Counts;
use smmuv3_tests::bench::readme::with_table;
use smmuv3_tests::bench::reference::Reference;
use smmuv3_tests::bench::work::{self, BATCH, FAULTS, IOVA, LINUX_BATCH, LIVE, NESTED_PAGES, STREAM, Work};
use smmuv3_tests::bench::world::{ASID, Ours, Shape, World};
use smmuv3_tests::bench::{OPERATIONS, named, rates};
use smmuv3_tests::commands::{Hint, Leaf, tlbi_nh_all, tlbi_nh_asid, tlbi_nh_va, tlbi_nsnh_all};
use smmuv3_tests::counters::Counters;

thread_local! {
    static COUNTERS: Cell<Counters> = Cell::default();
}

/// Counts where a segment, which hides its world, can be asked.
#[derive(Default)]
struct Tally;

impl Trace for Tally {
    fn step(&mut self, step: &Step) {
        let mut counters = COUNTERS.get();
        counters.step(step);
        COUNTERS.set(counters);
    }
}

/// What the second lap does, from its beginning to its end.
fn lap(work: Work) -> Counters {
    let mut segment = work::prepare::<Ours<1024, Tally>>(work);
    segment.ready();
    segment.run();
    segment.ready();
    COUNTERS.take();
    segment.run();
    COUNTERS.take()
}

#[test]
fn operations_do_what_they_are_named_after() {
    for operation in OPERATIONS.iter().filter(|operation| !operation.name.starts_with("s_")) {
        let lap = lap(operation.work);
        let name = operation.name;
        let did = (lap.hits, lap.fills, lap.commands, lap.dropped, lap.events);
        let batch = BATCH as u64;
        let expected = match operation.work {
            Work::Hits(..) | Work::Mixed(_) => (STREAM as u64, 0, 0, 0, 0),
            Work::Sequential => (operation.operations, 0, 0, 0, 0),
            Work::Sweep(pages, shape) => {
                assert_eq!(lap.descriptors, if shape.walk_cache { pages } else { 4 * pages }, "{name}");
                (0, pages, 0, 0, 0)
            }
            Work::Command(_) | Work::Amid(_) => (0, 0, batch, 0, 0),
            Work::Present => (0, 0, LINUX_BATCH as u64, LINUX_BATCH as u64, 0),
            Work::Destroy(_) => (0, 0, LINUX_BATCH as u64, LIVE, 0),
            Work::Storm => (0, 0, LINUX_BATCH as u64, 0, 0),
            Work::Range1Gib => (0, 0, 2, 0, 0),
            Work::Faults => (0, 0, 0, 0, FAULTS),
            Work::Registers => (0, 0, 0, 0, 0),
            Work::NestedCold => {
                assert_eq!(lap.descriptors, 24, "{name}: 4 levels of 1 + 4, and 4 of the output");
                did
            }
            Work::NestedWarm => {
                let least = NESTED_PAGES - 1; // of stage 1; of stage 2 at most the output's own
                assert!((least..=2 * least).contains(&lap.descriptors), "{name}: {lap:?}");
                did
            }
            Work::Uniform(_) | Work::Zipf(_) => {
                assert_eq!(lap.hits + lap.fills, STREAM as u64, "{name}");
                did
            }
            work => panic!("{name}: {work:?} is no row of its own"),
        };
        assert_eq!(did, expected, "{name}: hits, fills, commands, dropped, events");
    }
}

#[test]
fn what_is_taken_from_a_command_is_the_rest_of_its_batch() {
    for operation in OPERATIONS {
        if let Some(without) = operation.without() {
            assert_eq!(lap(without).commands + 1, lap(operation.work).commands, "{}", operation.name);
            assert_eq!(lap(without).dropped, 0, "{}", operation.name);
            assert_eq!((lap(operation.timed()).commands, lap(operation.timed()).dropped), (1, LIVE));
        }
    }
}

#[test]
fn names_are_in_order_and_unique() {
    let names: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
    assert!(names.iter().all(|name| names.iter().filter(|other| other == &name).count() == 1));
    assert!(names.windows(2).all(|pair| pair[0].as_bytes()[0] <= pair[1].as_bytes()[0]), "{names:?}");
    assert_eq!(named("a_translate_hit_4k").map(|found| found.len()), Ok(3));
    assert!(named("nothing").is_err());
}

#[test]
fn hit_rates_are_those_of_true_lru() {
    for rate in rates::all() {
        assert!(rate.lru - rate.ours <= rates::POINTS, "{rate:?}");
    }
}

#[test]
fn every_operation_is_committed_and_readme_shows_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let counts = Counts::read(&root.join("benches/counts.txt")).unwrap();
    let names: BTreeSet<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
    assert_eq!(counts.names().collect::<BTreeSet<_>>(), names);
    let readme = std::fs::read_to_string(root.join("../README.md")).unwrap();
    let current = with_table(&readme, &counts).unwrap() == readme;
    assert!(
        current,
        "README.md has other figures than counts.txt; `make bench-count UPDATE=1` rewrites both"
    );
}

/// Two devices, one guest that maps, accesses and invalidates as it must: the same answers, whatever is remembered.
#[test]
fn the_yardstick_answers_as_the_model_does() {
    for (nested, seed) in [(false, 1), (false, 2), (true, 3), (true, 4)] {
        let shape = Shape { nested, ..Shape::of(64) };
        let (mut ours, mut reference) = (World::<Ours<64>>::new(shape), World::<Reference>::new(shape));
        let mut random = fastrand::Rng::with_seed(seed);
        let page = |random: &mut fastrand::Rng| IOVA + (random.u64(..128) << 12);
        for step in 0..4000 {
            let va = page(&mut random);
            match random.u32(..16) {
                0..=2 => {
                    ours.map(va, 12);
                    reference.map(va, 12);
                }
                3 => {
                    ours.unmap(va);
                    reference.unmap(va);
                    let command = match random.u32(..5) {
                        0 => tlbi_nh_va(0, ASID, va, Leaf::Only, Hint::NONE),
                        1 => {
                            let hint = Hint { num: random.u64(..32), scale: random.u64(..3), ttl: 3, tg: 1 };
                            let before = random.u64(..=hint.num << hint.scale);
                            tlbi_nh_va(0, ASID, va - (before << 12), Leaf::Only, hint)
                        }
                        2 => tlbi_nh_asid(0, ASID),
                        3 => tlbi_nh_all(0),
                        _ => tlbi_nsnh_all(),
                    };
                    ours.announce(&[command]);
                    reference.announce(&[command]);
                }
                _ => assert_eq!(
                    reference.translate(va | 0x21),
                    ours.translate(va | 0x21),
                    "seed {seed}, step {step}: {va:#x}"
                ),
            }
            ours.drain_events();
            reference.drain_events();
        }
    }
}

/// What is forgotten shows where a guest does not invalidate: the entry answers on.
#[test]
fn the_yardstick_forgets_what_a_command_names_and_no_more() {
    let hint = |num, scale| Hint { num, scale, ttl: 3, tg: 1 };
    let va = |page: u64| IOVA + (page << 12);
    let rows = [
        (tlbi_nh_va(0, ASID, va(3), Leaf::Only, Hint::NONE), 3..4),
        (tlbi_nh_va(0, ASID, va(3), Leaf::Only, hint(4, 0)), 3..8), // odd start, split in 1 + 4
        (tlbi_nh_va(0, ASID, va(1), Leaf::Only, hint(2, 1)), 1..7),
        (tlbi_nh_va(0, ASID, va(5), Leaf::Only, hint(30, 13)), 5..32),
        (tlbi_nh_va(0, ASID + 1, va(0), Leaf::Only, hint(31, 0)), 0..0),
        (tlbi_nh_asid(0, ASID), 0..32),
        (tlbi_nh_asid(0, ASID + 1), 0..0),
        (tlbi_nsnh_all(), 0..32),
    ];
    for (command, forgotten) in rows {
        let mut world = World::<Reference>::new(Shape::of(64));
        world.map_pages(IOVA, 32);
        world.touch(IOVA, 32);
        (0..32).for_each(|page| world.unmap(va(page)));
        world.announce(&[command]);
        let faults: Vec<u64> = (0..32).filter(|page| world.translate(va(*page)) == 0).collect();
        assert_eq!(faults, forgotten.collect::<Vec<_>>(), "{command:x?}");
    }
}

#[test]
fn the_yardstick_empties_a_full_map() {
    let mut world = World::<Reference>::new(Shape::of(64));
    world.map_pages(IOVA, 65);
    world.touch(IOVA, 64);
    assert_eq!(world.subject.len(), 64);
    world.touch(IOVA + (64 << 12), 1);
    assert_eq!(world.subject.len(), 1);
}

/// All told: tags, payloads, and whatever else grows with the number of entries.
#[test]
fn sizes() {
    let per_entry = (size_of::<Smmu<65_536>>() - size_of::<Smmu<1024>>()).div_ceil(65_536 - 1024);
    assert!(per_entry <= 48, "{per_entry} bytes an entry");
    assert!(size_of::<Smmu<1024>>() < 80 << 10, "{} bytes", size_of::<Smmu<1024>>());
}
