//! The named seeds: what other models and drivers got wrong, one input each, in the byte code of the targets, and what recorded
//! conversations say.
//!
//! `r`, `b` and `e` count bugs of IOMMU models in ranges, in structures and registers, and in translation, events and queues; `d`
//! those of drivers. A name says what was wrong.

mod bytes;
mod vectors;

use bytes::{CommandQueue, Guest, Range, Registers, SteCd, op};
use smmuv3_tests::commands::{self, Hint, Leaf};

/// Target, name and bytes of each seed.
pub(crate) type Seed = (&'static str, String, Vec<u8>);

/// All of them.
pub(crate) fn all() -> Vec<Seed> {
    let mut all = ranges();
    all.extend(structures());
    all.extend(registers());
    all.extend(queues());
    all.extend(guests());
    all.extend(vectors::commands());
    all.extend(vectors::transcripts());
    all
}

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x60_0000; // at level 2, 4 KiB granule: every fourth is one
const LARGE: u64 = 0xc000_0000; // at level 1
const fn hint(num: u64, scale: u64, ttl: u64, tg: u64) -> Hint {
    Hint { num, scale, ttl, tg }
}

/// Target `range`: what is live, then one command.
fn ranges() -> Vec<Seed> {
    let pages = |count: u64| (0..count).map(|n| (0, 0x1_0000 + n * PAGE)).collect::<Vec<_>>();
    let high = |count: u64| (0..count).map(|n| (0, 0xff39_5000 + n * PAGE)).collect::<Vec<_>>();
    let rows = [
        ("r1_scale_of_31_and_more", Range::of(&pages(4)).command(op::NH_VA, hint(31, 31, 3, 1), 0)),
        (
            "r1_scale_of_39_num_of_31",
            Range::of(&[(0, LARGE), (0, 0x7fff_ffff_f000)]).command(op::NH_VAA, hint(31, 39, 0, 1), 0),
        ),
        (
            "r2_granule_of_16k",
            Range::of(&[(2, 0x8000), (2, 0xc000), (0, 0x8000)])
                .command(op::NH_VAA, hint(1, 0, 3, 2), 0x8000)
                .vmid(2),
        ),
        (
            "r2_granule_of_64k",
            Range::of(&[(4, 0x10_0000), (4, 0x11_0000), (0, 0x10_0000)])
                .command(op::NH_VAA, hint(1, 0, 3, 3), 0x10_0000)
                .vmid(3),
        ),
        (
            "r3_vaa_with_ttl",
            Range::of(&[(0, 0x5000), (1, 0x5000)]).command(op::NH_VAA, hint(0, 0, 3, 1), 0x5000),
        ),
        (
            "r4_larger_block_in_the_way",
            Range::of(&[(0, BLOCK + 0x5000)]).command(op::NH_VA, hint(0, 0, 0, 0), BLOCK + 0x5000),
        ),
        ("r5_three_pages", Range::of(&pages(8)).command(op::NH_VA, hint(2, 0, 3, 1), 0x1_0000)),
        ("r5_five_pages", Range::of(&pages(8)).command(op::NH_VA, hint(4, 0, 3, 1), 0x1_1000)),
        ("r5_seven_pages", Range::of(&pages(10)).command(op::NH_VA, hint(6, 0, 3, 1), 0x1_2000)),
        (
            "r6_32_pages_from_an_odd_start",
            Range::of(&high(30)).command(op::NH_VA, hint(31, 0, 3, 1), 0xff39_5000),
        ),
        (
            "r9_odd_start_31_times_8192_pages",
            Range::of(&[(0, 0x3000), (0, LARGE), (0, 0x4000_0000)]).command(
                op::NH_VA,
                hint(30, 13, 0, 1),
                0x3000,
            ),
        ),
        (
            "r10_granule_without_range_or_level",
            Range::of(&pages(2)).command(op::NH_VA, hint(0, 0, 0, 1), 0x1_0000),
        ),
        (
            "r12_page_and_block_indices",
            Range::of(&[(0, 0x5000), (0, BLOCK), (0, LARGE)]).command(op::NH_VA, hint(0, 9, 2, 1), BLOCK),
        ),
        (
            "r13_block_found_at_its_last_page",
            Range::of(&[(0, BLOCK + 0x1f_f000), (0, LARGE + 0x3fff_f000)]).command(
                op::NH_VA,
                hint(0, 18, 1, 1),
                LARGE,
            ),
        ),
        ("d1_only_the_first_page", Range::of(&pages(16)).command(op::NH_VA, hint(0, 0, 3, 1), 0x1_0000)),
        (
            "d3_ttl_of_pages_over_a_block",
            Range::of(&[(0, BLOCK)]).command(op::NH_VA, hint(0, 9, 3, 1), BLOCK),
        ),
        ("d4_reserved_combination", Range::of(&pages(2)).command(op::NH_VAA, hint(0, 0, 0, 2), 0x1_0000)),
        ("d13_address_bits_in_ttl", Range::of(&pages(2)).command(op::NH_VA, hint(0, 0, 1, 1), 0x1_0000)),
        ("d13_wrong_asid", Range::of(&pages(2)).command(op::NH_VA, hint(1, 0, 3, 1), 0x1_0000).asid(2)),
        (
            "ends_at_the_top_of_the_address_space",
            Range::of(&[(0, 0xffff_ffff_ffff_f000), (0, 0)]).command(
                op::NH_VA,
                hint(31, 39, 0, 1),
                0xffff_ffff_ffff_0000,
            ),
        ),
        (
            "ends_with_the_lower_half",
            Range::of(&[(0, 0x7fff_ffff_f000), (0, 0xffff_8000_0000_0000)]).command(
                op::NH_VAA,
                hint(1, 0, 3, 1),
                0x7fff_ffff_f000,
            ),
        ),
        (
            "contiguous_run_by_one_member",
            Range::of(&[(0, 0x10_0000), (0, 0x10_8000)]).command(op::NH_VA, hint(0, 0, 3, 1), 0x10_9000),
        ),
        (
            "global_page_by_another_asid",
            Range::of(&[(0, 0), (1, 0)]).command(op::NH_VA, hint(0, 0, 3, 1), 0).asid(2),
        ),
        ("asid_spares_what_is_global", Range::of(&[(0, 0), (0, PAGE)]).command(op::NH_ASID, Hint::NONE, 0)),
        (
            "stage2_range",
            Range::of(&[(6, 0x5000), (6, BLOCK)]).command(op::S2_IPA, hint(1, 9, 0, 1), 0).vmid(4),
        ),
        (
            "el2_by_address",
            Range::of(&[(7, 0x5000), (7, BLOCK)]).command(op::EL2_VA, hint(0, 0, 3, 1), 0x5000),
        ),
        ("el2_by_any_asid", Range::of(&[(7, 0x5000), (0, 0x5000)]).command(op::EL2_VAA, hint(0, 9, 0, 1), 0)),
        (
            "sixteen_kib_level_1_is_no_level",
            Range::of(&[(2, 0x4000)]).command(op::NH_VA, hint(1, 0, 1, 2), 0x4000).vmid(2),
        ),
        ("everything", Range::of(&[(0, 0), (6, 0), (7, 0)]).command(op::NSNH_ALL, Hint::NONE, 0)),
        ("el2_all", Range::of(&[(0, 0), (6, 0), (7, 0)]).command(op::EL2_ALL, Hint::NONE, 0)),
        ("a_vmid", Range::of(&[(0, 0), (2, 0x4000)]).command(op::NH_ALL, Hint::NONE, 0).vmid(2)),
        ("a_vmid_of_both_stages", Range::of(&[(6, 0), (0, 0)]).command(op::S12_VMALL, Hint::NONE, 0).vmid(4)),
        ("leaf_spares_tables", Range::of(&pages(1)).command(op::NH_VA, hint(0, 0, 3, 1), 0x1_0000).leaf()),
        ("tables_above_the_level", Range::of(&[(0, 0x5000)]).command(op::NH_VA, hint(0, 9, 2, 1), 0)),
    ];
    rows.into_iter().map(|(name, seed)| ("range", name.to_owned(), seed.bytes())).collect()
}

/// Target `ste_cd`: hostile structures.
fn structures() -> Vec<Seed> {
    let new = SteCd::new;
    let two_level = |log2: u32, split: u32| log2 | split << 6 | 1 << 16;
    let rows = [
        ("b1_span_counts_from_one", new().table(two_level(16, 8), 0x20).l1(0, 4, 0).dma(7).dma(8)),
        ("b1_span_has_five_bits", new().table(two_level(16, 8), 0x20).l1(0, 0x13, 0).dma(1)),
        ("b1_span_of_nothing", new().table(two_level(16, 8), 0x20).l1(0, 0, 0).dma(1)),
        ("b2_base_is_masked_and_aligned", new().table(4, 0x43).dma(1).table(4, 0x01).dma(1)),
        ("b3_two_levels_and_back", new().table(two_level(16, 8), 0x20).l1(0, 5, 0).dma(1).table(4, 0).dma(1)),
        ("b3_split_that_is_reserved", new().table(two_level(16, 7), 0x20).l1(0, 5, 0).dma(1).dma(64)),
        ("b4_streamid_against_log2size", new().table(3, 0).dma(7).dma(8).dma(0xffff)),
        ("b4_streamid_against_sidsize", new().table(32, 0).dma(0x1_0000).dma(u32::MAX)),
        ("b5_log2size_of_63", new().table(63, 0x40).dma(1).table(two_level(63, 10), 0x60).dma(1)),
        ("b6_cd_valid_is_bit_31", new().cd(0, 0, 1 << 31).dma(1).cd(0, 0, 1 << 30).dma(1)),
        (
            "b7_tbi0_is_not_tbi1",
            new().cd(0, 0, 1 << 38).at(1, 1 << 60).at(1, 0xffff_ff00_0000_0000 ^ 1 << 60),
        ),
        ("b8_ips_of_7", new().cd(0, 0, 2 << 32).dma(1)),
        ("b8_no_aarch64_at_stage_2", new().ste(5, 2, 1 << 51).dma(5)),
        ("b9_block_at_level_0", new().cd(0, 0, 25 ^ 16).dma(1).descriptor(0, 0, 0, 2).dma(1)),
        (
            "b13_addresses_of_the_fetch_events",
            new().ste(1, 0, 0xf_ffff_0000_0000).dma(1).ste(4, 3, 0xf_0000_0000_0000).dma(4),
        ),
        ("e2_unknown_stream_unrecorded", new().cr2(0).dma(99).cr2(2).dma(99)),
        ("e3_class_of_a_cd", new().descriptor(4, 3, 0, 1).dma(4)),
        ("e4_ste_fetch_aborts", new().table(4, 0x40).dma(1)),
        ("e4_cd_fetch_aborts", new().ste(1, 0, 1 << 40).dma(1)),
        ("e5_output_beyond_oas", new().cd(0, 0, 5 << 32).dma(1)),
        ("e5_ipa_of_stage_2_faults", new().descriptor(4, 3, 12, 1).at(5, 0xc000)),
        ("e6_upper_half", new().at(1, 0xffff_ff80_0000_0000).at(1, 0x0000_0080_0000_0000)),
        ("e17_config_of_nonsense", new().ste(1, 0, 0xe).dma(1).ste(1, 0, u64::MAX << 1).dma(1)),
        (
            "e19_concatenated_tables",
            new().ste(5, 2, (25 ^ 22) << 32).at(5, 0x7f_ffff_f000).at(5, 0x80_0000_0000),
        ),
        ("e20_stage_2_fault_on_a_stage_1_table", new().descriptor(4, 3, 1, 1).dma(4)),
        (
            "e21_address_size_before_permission",
            new().cd(0, 0, 5 << 32).descriptor(0, 3, 1, 0xc0).write(1, 0x1000),
        ),
        ("substream_table_of_two_levels", new().ste(6, 0, 1 << 4).dma(6).ste(6, 0, 3 << 4).dma(6)),
        ("every_s1dss", new().dma(6).ste(6, 1, 3).dma(6).ste(6, 1, 2).dma(6)),
        (
            "contiguous_against_its_neighbours",
            new().descriptor(0, 3, 17, 0x1000).at(1, 0x1_0000).at(1, 0x1_1000),
        ),
        (
            "flags_by_hardware",
            new().cd(0, 0, 3 << 42).descriptor(0, 3, 1, 1 << 10 | 1 << 51 | 1 << 7).write(1, 0x1000),
        ),
        ("big_endian_tables", new().cd(0, 0, 1 << 15).dma(1)),
    ];
    rows.into_iter().map(|(name, seed)| ("ste_cd", name.to_owned(), seed.bytes())).collect()
}

/// Target `registers`.
fn registers() -> Vec<Seed> {
    let new = Registers::new;
    let rows = [
        ("b10_ack_mirrors_what_exists", new().word(0x20, u32::MAX).word(0x20, 0).word(0x24, u32::MAX)),
        (
            "b11_wide_registers_in_halves",
            new().word(0x20, 0).word(0x80, 0x1234_5678).word(0x84, u32::MAX).wide(0xb0, u64::MAX),
        ),
        ("b11_pairs_at_once", new().wide(0x98, 5 << 32 | 3).wide(0x50, u64::MAX)),
        (
            "b12_bases_while_enabled",
            new()
                .wide(0x80, u64::MAX)
                .wide(0x90, u64::MAX)
                .wide(0xa0, u64::MAX)
                .word(0x20, 0)
                .wide(0x80, u64::MAX)
                .wide(0x90, u64::MAX)
                .wide(0xa0, u64::MAX),
        ),
        (
            "b12_interrupts_while_enabled",
            new().word(0x50, 7).wide(0x68, u64::MAX).wide(0xb0, u64::MAX).word(0x50, 0).wide(0x68, u64::MAX),
        ),
        (
            "b14_reset_restores_all",
            new().word(0x20, 0).wide(0x80, u64::MAX).word(0x88, u32::MAX).word(0x2c, u32::MAX).reset().dma(),
        ),
        (
            "b15_gbpa_without_update",
            new().word(0x44, 1 << 20).word(0x20, 0).dma().word(0x44, 1 << 31 | 1 << 20).dma(),
        ),
        (
            "b3_format_does_not_stick",
            new().word(0x20, 0).word(0x88, 1 << 16 | 16).word(0x88, 4).word(0x20, 0xd).dma(),
        ),
        ("b10_identification", new().word(0x18, u32::MAX).word(0x1c, u32::MAX).word(0, u32::MAX)),
        (
            "e1_overflow_acknowledged",
            new().word(0x100ac, 1 << 31).word(0x20, 9).word(0x100a8, u32::MAX).word(0x20, 0xd).dma(),
        ),
        ("e14_prod_beyond_the_queue", new().word(0x98, 0xf_ffff).word(0x98, 33).word(0x98, 64).poll(255)),
        (
            "accesses_of_every_size",
            new()
                .any(0x20, 0)
                .any(0x21, 4)
                .any(0x24, 8)
                .any(0x2_fffc, 8)
                .any(0x3_0000, 4)
                .any(0x20, 0x81)
                .any(0x22, 0x84),
        ),
        (
            "saved_and_restored",
            new().word(0x20, 0).word(0x2c, 7).restore(21).word(0x20, 0xd).dma().restore(3).dma(),
        ),
        ("atos_by_register", new().wide(0x108, 1).wide(0x110, 0x1000).word(0x100, 1)),
        ("vatos_by_register", new().word(0x180, 1).wide(0x2_0a08, 1)),
    ];
    rows.into_iter().map(|(name, seed)| ("registers", name.to_owned(), seed.bytes())).collect()
}

/// Target `command_queue`.
fn queues() -> Vec<Seed> {
    let new = CommandQueue::new;
    let sync = commands::sync();
    let nh_va = |va: u64, hint: Hint| commands::tlbi_nh_va(1, 1, va, Leaf::Only, hint);
    let mut laps = new();
    for n in 0..40 {
        laps = laps.put(nh_va(n * PAGE, Hint::NONE)).put(sync).ring();
    }
    let mut overrun = new();
    for n in 0..40 {
        overrun = overrun.put(nh_va(n * PAGE, Hint::NONE));
    }
    let mut full = new();
    for n in 0..20 {
        full = full.read(9, n * 0x80_0000 + 0x5000);
    }
    let fill = |mut queue: CommandQueue| {
        for page in 0..48 {
            queue = queue.read(1, page * PAGE);
        }
        queue
    };
    let mut events = new();
    for sid in 0..20 {
        events = events.read(11 + sid, 0);
    }
    let illegal = [[0xfe, 0], [0x07, 0], [0x70, 0], [0x80, 0], [0, 0], [0x46 | 3 << 12, 0], [0x41, 3 << 12]];
    let mut every_illegal = new();
    for command in illegal {
        every_illegal = every_illegal.put(command).put(sync).ring().acknowledge().ring();
    }
    let rows = [
        ("r7_cfgi_all", new().read(1, 0).read(3, 0).put(commands::cfgi_all()).put(sync).ring().read(1, 0)),
        (
            "r8_cfgi_range_with_low_bits",
            new().read(4, 0).read(6, 0).put(commands::cfgi_ste_range(7, 2)).ring().read(4, 0),
        ),
        ("e1_event_queue_overflows", events.clone().drain().read(11, 0)),
        ("e2_unknown_streams", new().read(99, 0).read(255, 0).drain()),
        (
            "e8_dma_to_every_stream",
            (0..12).fold(new(), |queue, sid| queue.read(sid, 0x1000).write(sid, 0x2000)),
        ),
        ("e12_sync_of_no_kind", new().put([0x46 | 3 << 12, 0]).ring().acknowledge().ring()),
        ("e12_everything_illegal", every_illegal),
        ("e13_prod_far_ahead", new().put(nh_va(0, Hint::NONE)).prod(0x1f).prod(0x20).prod(0xf_ffff)),
        ("e14_more_than_a_queue", new().prod(33).prod(63).cons(31).prod(0x8_0000)),
        ("e15_wrap_on_the_second_lap", laps),
        ("e16_iotlb_is_full", fill(new()).put(nh_va(0, Hint::NONE)).put(sync).ring().read(1, PAGE)),
        ("e16_sets_are_full", full),
        (
            "e17_resume_of_nobody",
            new().put(commands::resume(10, 7, 1, 0)).put(commands::stall_term(10)).ring().back(),
        ),
        (
            "d2_range_that_never_ends",
            new().put(nh_va(0, hint(31, 63, 3, 1))).put(nh_va(u64::MAX << 12, hint(31, 63, 0, 3))).ring(),
        ),
        (
            "d5_page_by_page",
            (0..30).fold(fill(new()), |queue, n| queue.put(nh_va(n * PAGE, Hint::NONE))).put(sync).ring(),
        ),
        ("d7_wrap_bit_dropped", new().put(sync).ring().prod(1).cons(0x20).prod(0x1f).prod(0)),
        (
            "d8_stage_2_by_ipa_alone",
            new()
                .read(4, 0x1000)
                .put(commands::tlbi_s2_ipa(2, 0x1000, Leaf::Only, Hint::NONE))
                .put(sync)
                .ring()
                .read(4, 0x1000),
        ),
        (
            "d10_el2_commands",
            new()
                .read(7, 0x1000)
                .put(commands::tlbi_el2_va(0, 0x1000, Leaf::Only, Hint::NONE))
                .put(commands::tlbi_el2_all())
                .ring()
                .read(7, 0x1000),
        ),
        ("d12_no_sync", new().read(1, 0).put(nh_va(0, Hint::NONE)).ring().read(1, 0)),
        ("queue_overrun", overrun.ring()),
        (
            "sync_signals",
            new()
                .put(commands::sync_with(1, 0x6000, 0xdead_beef))
                .put(commands::sync_with(1, 0x10_0000, 1))
                .put(commands::sync_with(2, 0, 0))
                .ring()
                .acknowledge(),
        ),
        (
            "atc_and_pri",
            new()
                .put(commands::atc_inv(3, None, 0x5000, 52))
                .put(commands::pri_resp(3, Some(1), 7, 2))
                .put(sync)
                .ring(),
        ),
        (
            "prefetches",
            new()
                .put(commands::prefetch_config(1))
                .put(commands::prefetch_addr(1, 0x1000))
                .ring()
                .read(1, 0x1000),
        ),
        (
            "stalled_and_retried",
            new().read(10, 0x7f_0000_0000).put(commands::resume(10, 1, 1, 0)).ring().back(),
        ),
        (
            "stalled_and_terminated",
            new().read(10, 0x7f_0000_0000).put(commands::stall_term(10)).ring().back(),
        ),
        (
            "saved_and_restored",
            fill(new()).restore(4).put(nh_va(0, hint(7, 0, 3, 1))).ring().read(1, 0).restore(1).read(1, 0),
        ),
        ("in_portions", (0..9).fold(new(), |queue, _| queue.put(sync)).portion(3).portion(7)),
        ("slots_behind_the_back", new().put(sync).slot(0, [0xfe, 0]).ring().slot(0, sync).acknowledge()),
        (
            "queue_disabled_and_enabled",
            new().put(sync).register(0, 5).ring().register(0, 0xf).register(1, u32::MAX),
        ),
    ];
    rows.into_iter().map(|(name, seed)| ("command_queue", name.to_owned(), seed.bytes())).collect()
}

/// Target `guest`: each seed changes something that is remembered, tells so, and looks again.
fn guests() -> Vec<Seed> {
    use bytes::{Kind, tree};
    let new = Guest::new;
    let again = |plan: u8| {
        let mut guest = new(plan);
        for how in 0..8 {
            guest = guest
                .look(1, 3, 1)
                .change(tree::FIRST, 3, 1, Kind::Leaf, 100 + u16::from(how), how)
                .look(1, 3, 1);
        }
        guest
    };
    let rows = [
        (
            "r11_block_over_pages_of_stage_2",
            new(4)
                .look(4, 1, 5)
                .change(tree::VM_FIRST, 1, 5, Kind::Leaf, 0x8001, 5)
                .look(4, 1, 5)
                .change(tree::VM_FIRST, 1, 5, Kind::Invalid, 0, 3)
                .look(4, 1, 5),
        ),
        (
            "e7_root_table_through_stage_2",
            new(0).look(4, 3, 1).migrate(1, 3).look(4, 3, 1).migrate(1, 5).look(4, 3, 1),
        ),
        (
            "e8_tables_on_scattered_frames",
            (1..7).fold(new(0), |guest, page| guest.migrate(page, 3).look(4, 3, 2)),
        ),
        (
            "e9_permission_of_either_stage",
            new(0)
                .look(4, 3, 3)
                .changed(tree::STAGE_2, 3, 13, Kind::Leaf, 2, 1, 3)
                .write(4, 3, 3)
                .changed(tree::VM_FIRST, 3, 3, Kind::Leaf, 2, 3, 4)
                .write(4, 3, 3),
        ),
        (
            "e10_used_after_invalidation",
            new(4).look(1, 3, 2).change(tree::FIRST, 3, 2, Kind::Invalid, 0, 3).look(1, 3, 2),
        ),
        (
            "e11_configuration_is_not_changed_by_walks",
            new(0).look(1, 3, 2).look(10, 3, 2).look(6, 3, 2).substream(6, 1, 2).look(6, 3, 2),
        ),
        ("e16_one_entry", again(1)),
        (
            "e18_cds_go_with_their_ste",
            new(0).look(1, 3, 0).context(0, 0, 2).look(1, 3, 31).context(0, 3, 2).look(1, 3, 31),
        ),
        (
            "e20_stage_2_gone_under_a_table",
            new(0)
                .look(4, 3, 1)
                .change(tree::STAGE_2, 3, 1, Kind::Invalid, 0, 4)
                .look(4, 3, 1)
                .change(tree::STAGE_2, 3, 1, Kind::Leaf, 0, 4)
                .look(4, 3, 1),
        ),
        ("d3_table_freed", new(4).look(1, 3, 1).change(tree::FIRST, 1, 0, Kind::Invalid, 0, 3).look(1, 3, 1)),
        (
            "d3_table_becomes_a_block",
            new(4)
                .look(1, 3, 1)
                .change(tree::FIRST, 1, 0, Kind::Leaf, 9, 4)
                .look(1, 3, 1)
                .change(tree::FIRST, 1, 0, Kind::Table, 0, 3)
                .look(1, 3, 1),
        ),
        (
            "d8_stage_2_with_nh_all",
            new(0)
                .look(5, 3, 12)
                .look(4, 3, 0)
                .change(tree::STAGE_2, 3, 12, Kind::Leaf, 77, 3)
                .look(5, 3, 12)
                .look(4, 3, 0),
        ),
        (
            "d9_split_and_merge",
            new(8)
                .look(1, 1, 1)
                .change(tree::FIRST, 1, 1, Kind::Leaf, 5, 6)
                .look(1, 1, 1)
                .change(tree::FIRST, 1, 1, Kind::Table, 0, 6)
                .look(1, 4, 3),
        ),
        ("every_way_to_tell", again(0)),
        ("every_way_to_tell_to_the_letter", again(4)),
        ("every_way_to_tell_without_ranges", again(0x20)),
        ("every_way_to_tell_watched", again(0x40)),
        ("every_way_to_tell_twice", again(0x80)),
        (
            "contiguous_run",
            new(4)
                .look(1, 3, 17)
                .change(tree::FIRST, 3, 20, Kind::Run, 3, 3)
                .look(1, 3, 30)
                .change(tree::FIRST, 3, 18, Kind::Leaf, 4, 5)
                .look(1, 3, 17)
                .look(1, 3, 18),
        ),
        (
            "sixteen_and_sixty_four_kib",
            new(4)
                .look(8, 1, 3)
                .look(9, 1, 3)
                .change(tree::K16, 1, 3, Kind::Leaf, 6, 3)
                .change(tree::K64, 1, 3, Kind::Run, 7, 4)
                .look(8, 1, 3)
                .look(9, 1, 3),
        ),
        (
            "global_pages",
            new(4)
                .upper(1, 2, 1)
                .upper(3, 2, 1)
                .changed(tree::UPPER, 2, 1, Kind::Leaf, 0x20, 9, 1)
                .upper(1, 2, 1)
                .upper(3, 2, 1)
                .change(tree::UPPER, 2, 1, Kind::Leaf, 8, 3)
                .upper(3, 2, 1),
        ),
        (
            "el2",
            new(4)
                .look(7, 2, 1)
                .change(tree::EL2, 2, 1, Kind::Leaf, 9, 3)
                .look(7, 2, 1)
                .change(tree::EL2, 1, 0, Kind::Invalid, 9, 4)
                .look(7, 2, 1),
        ),
        (
            "flags_by_hardware",
            new(0)
                .context(0, 0x1b, 0)
                .changed(tree::FIRST, 3, 1, Kind::Leaf, 0x13, 9, 3)
                .write(1, 3, 1)
                .look(1, 3, 1),
        ),
        (
            "stalled",
            new(0)
                .change(tree::FIRST, 3, 1, Kind::Invalid, 0, 1)
                .look(10, 3, 1)
                .look(10, 3, 1)
                .change(tree::FIRST, 3, 1, Kind::Leaf, 8, 1)
                .release(0, 9)
                .release(0, 8),
        ),
        (
            "streams_come_and_go",
            new(0)
                .look(1, 3, 1)
                .stream(1, 1, 0)
                .look(1, 3, 1)
                .stream(1, 2, 1)
                .look(1, 3, 1)
                .stream(1, 3, 2)
                .look(1, 3, 1)
                .stream(1, 0, 0)
                .look(1, 3, 1),
        ),
        ("ats", new(0).ask(0, 3, 0x1000).ask(1, 3, 0x1000).ask(2, 3, 0x1000).ask(3, 3, 0x1000)),
        ("translation_off_and_on", new(0).look(1, 3, 1).restart().look(1, 3, 1).forget().look(1, 3, 1)),
        ("saved_and_restored", new(0).look(1, 3, 1).look(10, 3, 31).restore(5).look(1, 3, 1).release(0, 9)),
    ];
    rows.into_iter().map(|(name, seed)| ("guest", name.to_owned(), seed.bytes())).collect()
}
