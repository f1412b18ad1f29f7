//! Page requests (§8): the PRI queue, its overflow, automatic responses, interrupts, CMD_PRI_RESP, and E_PAGE_REQUEST.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::{
    Features, Iova, PageHint, PageRequest, PageRequestOutcome, PageResponse, Settings, StreamId, SubstreamId,
};
use smmuv3_tests::bits::Words;
use smmuv3_tests::commands::{pri_resp, tlbi_nsnh_all};
use smmuv3_tests::driver::{Driver, RAM_BASE, register, value};
use smmuv3_tests::tables::{Ste, ste};

type Device = Driver<16>;

/// Where the PRI queue lies.
const QUEUE: u64 = RAM_BASE + 0x3_0000;
const ON: u32 = value::CMDQEN | value::EVENTQEN | value::SMMUEN;
const SID: u32 = 7;

const QUEUED: PageRequestOutcome = PageRequestOutcome::Queued;
const DISCARDED: PageRequestOutcome = PageRequestOutcome::Discarded;
const FAILURE: PageRequestOutcome =
    PageRequestOutcome::Answered { response: PageResponse::Failure, pasid: false };
const SUCCESS: PageRequestOutcome =
    PageRequestOutcome::Answered { response: PageResponse::Success, pasid: false };
const SUCCESS_WITH_PASID: PageRequestOutcome =
    PageRequestOutcome::Answered { response: PageResponse::Success, pasid: true };

/// A booted device with a PRI queue of 2^`log2_entries`, at `base`, and its interrupt on.
fn at(features: Features, base: u64, log2_entries: u32) -> Device {
    let mut device = Device::booted(features, Settings::new(4, 4), 2);
    device.write64(register::PRIQ_BASE, base | u64::from(log2_entries) | 1 << 62);
    device.write32(register::PRIQ_PROD, 0);
    device.write32(register::PRIQ_CONS, 0);
    device.write_cr0(ON | value::PRIQEN);
    let enables = value::GERROR_IRQEN | value::PRIQ_IRQEN | value::EVENTQ_IRQEN;
    device.write32(register::IRQ_CTRL, enables);
    assert_eq!(device.read32(register::IRQ_CTRLACK), enables);
    device
}

fn booted(log2_entries: u32) -> Device {
    at(Features::SMMUV3_2, QUEUE, log2_entries)
}

/// A read of page 0x5000, the last of group 1, without a PASID.
const LAST: PageRequest = PageRequest {
    stream: StreamId(SID),
    substream: None,
    address: 0x5000,
    group: 1,
    read: true,
    write: false,
    execute: false,
    privileged: false,
    last: true,
};
const NOT_LAST: PageRequest = PageRequest { last: false, ..LAST };
const WITH_PASID: PageRequest = PageRequest { substream: Some(SubstreamId(0xabcde)), ..LAST };
/// L = 1, W = R = 0 with a PASID.
const STOP_MARKER: PageRequest = PageRequest { read: false, ..WITH_PASID };

fn send(device: &mut Device, request: &PageRequest) -> PageRequestOutcome {
    device.call(|smmu, env| smmu.page_request(request, env))
}

/// A device whose queue of one is full, and that has just turned a message away.
fn overflowing(features: Features) -> Device {
    let mut device = at(features, QUEUE, 0);
    assert_eq!(send(&mut device, &LAST), QUEUED);
    assert_eq!(send(&mut device, &NOT_LAST), DISCARDED);
    assert_eq!(device.read32(register::PRIQ_PROD), value::OVERFLOW | 1);
    device
}

/// events.md §7, by hand: SID `[31:0]`, SSID `[51:32]`, Priv 58, X 59, R 60, W 61, Last 62, SSV 63, PRGIndex `[72:64]`,
/// Addr `[127:76]`.
#[test]
fn entries_bit_by_bit() {
    let none = PageRequest { read: false, last: false, group: 0, address: 0, ..LAST };
    let pasid = Some(SubstreamId(0));
    let rows = [
        ("nothing but a StreamID", none, [0x0000_0000_0000_0007, 0]),
        ("all StreamID bits", PageRequest { stream: StreamId(0xfedc_ba98), ..none }, [0xfedc_ba98, 0]),
        ("R", PageRequest { read: true, ..none }, [0x1000_0000_0000_0007, 0]),
        ("W", PageRequest { write: true, ..none }, [0x2000_0000_0000_0007, 0]),
        ("Last", PageRequest { last: true, ..none }, [0x4000_0000_0000_0007, 0]),
        ("X needs a PASID", PageRequest { execute: true, ..none }, [0x0000_0000_0000_0007, 0]),
        ("Priv needs a PASID", PageRequest { privileged: true, ..none }, [0x0000_0000_0000_0007, 0]),
        ("SSV", PageRequest { substream: pasid, ..none }, [0x8000_0000_0000_0007, 0]),
        ("Priv", PageRequest { substream: pasid, privileged: true, ..none }, [0x8400_0000_0000_0007, 0]),
        ("X", PageRequest { substream: pasid, execute: true, ..none }, [0x8800_0000_0000_0007, 0]),
        ("SSID", PageRequest { substream: Some(SubstreamId(0xfffff)), ..none }, [0x800f_ffff_0000_0007, 0]),
        ("PRGIndex", PageRequest { group: 0x1ff, ..none }, [0x0000_0000_0000_0007, 0x1ff]),
        (
            "Addr without its low bits",
            PageRequest { address: u64::MAX, ..none },
            [0x0000_0000_0000_0007, 0xffff_ffff_ffff_f000],
        ),
        ("Stop Marker", STOP_MARKER, [0xc00a_bcde_0000_0007, 0x5001]),
        (
            "all of them",
            PageRequest {
                write: true,
                execute: true,
                privileged: true,
                group: 0x1a5,
                address: 0x1234_5678_9abc,
                ..WITH_PASID
            },
            [0xfc0a_bcde_0000_0007, 0x1234_5678_91a5],
        ),
    ];
    for (name, request, expected) in rows {
        let mut device = booted(3);
        assert_eq!(send(&mut device, &request), QUEUED, "{name}");
        assert_eq!(device.read_record(QUEUE), expected, "{name}");
        assert_eq!(device.read32(register::PRIQ_PROD), 1, "{name}");
    }
}

#[test]
fn e15_page_requests_wrap() {
    for log2_entries in [0, 1, 3] {
        let mut device = booted(log2_entries);
        let mask = (2u32 << log2_entries) - 1;
        for round in 0..5u32 << log2_entries {
            assert_eq!(send(&mut device, &PageRequest { group: round as u16, ..LAST }), QUEUED);
            assert_eq!(device.read32(register::PRIQ_PROD), (round + 1) & mask, "2^{log2_entries}");
            let entry = QUEUE + 16 * u64::from(round & (mask >> 1));
            assert_eq!(device.read_record(entry), [0x5000_0000_0000_0007, 0x5000 | u64::from(round)]);
            device.write32(register::PRIQ_CONS, (round + 1) & mask);
        }
    }
}

#[test]
fn the_queue_is_aligned_and_no_larger_than_idr1_allows() {
    // 2^2 entries are 64 bytes, so bit 5 of the base does not count; PRIQS = 1 caps to two entries, 32 bytes.
    let mut device = at(Features::SMMUV3_2, QUEUE | 0x20, 2);
    assert_eq!(send(&mut device, &LAST), QUEUED);
    assert_ne!(device.ram.word(QUEUE), Some(0));
    let mut device = at(Features { priqs: 1, ..Features::SMMUV3_2 }, QUEUE | 0x20, 19);
    assert_eq!(device.read64(register::PRIQ_BASE) & 0x1f, 19, "LOG2SIZE reads back raw");
    assert_eq!([LAST; 3].map(|request| send(&mut device, &request)), [QUEUED, QUEUED, SUCCESS]);
    assert_ne!(device.ram.word(QUEUE + 0x20), Some(0));
}

#[test]
fn an_overflow_is_told_once_and_blocks_until_it_is_acknowledged() {
    let mut device = booted(1);
    assert_eq!([LAST; 3].map(|request| send(&mut device, &request)), [QUEUED, QUEUED, SUCCESS]);
    assert_eq!(device.read32(register::PRIQ_PROD), value::OVERFLOW | 2);
    assert_eq!(send(&mut device, &LAST), SUCCESS);
    assert_eq!(device.read32(register::PRIQ_PROD), value::OVERFLOW | 2, "only once");
    device.write32(register::PRIQ_CONS, 2); // room, but OVACKFLG stays 0
    assert_eq!(send(&mut device, &LAST), SUCCESS, "an unacknowledged overflow keeps everything out");
    assert_eq!(device.read32(register::PRIQ_PROD), value::OVERFLOW | 2);
    device.write32(register::PRIQ_CONS, value::OVERFLOW | 2);
    assert_eq!(send(&mut device, &LAST), QUEUED);
    assert_eq!(device.read32(register::PRIQ_PROD), value::OVERFLOW | 3);
    assert_eq!(send(&mut device, &LAST), QUEUED);
    assert_eq!(send(&mut device, &LAST), SUCCESS);
    assert_eq!(device.read32(register::PRIQ_PROD), 0, "toggled back; index 0, wrap 0 after four entries");
    assert_eq!(device.read32(register::GERROR), 0, "no global error");
}

/// registers.md §9: what a device hears of a message that was discarded by an overflow.
#[test]
fn automatic_responses_to_an_overflow() {
    const V3_2: Features = Features::SMMUV3_2;
    const PPS: Features = Features { pps: true, ..V3_2 };
    let good = ste::of(ste::STAGE_1).with(ste::S1CONTEXTPTR, RAM_BASE >> 6);
    let ppar = good.with(ste::PPAR, 1);
    let bad = ppar.with(ste::V, 0);
    let illegal = ppar.with(ste::STRW, 0b01);
    let other = PageRequest { stream: StreamId(0x1234), ..WITH_PASID };
    let rows: &[(&str, Features, Ste, PageRequest, PageRequestOutcome)] = &[
        ("Last = 0", V3_2, ppar, NOT_LAST, DISCARDED),
        ("Last = 0 with a PASID", V3_2, ppar, PageRequest { last: false, ..WITH_PASID }, DISCARDED),
        ("Last = 0 with a bad STE", V3_2, bad, PageRequest { last: false, ..WITH_PASID }, DISCARDED),
        ("no PASID", V3_2, ppar, LAST, SUCCESS),
        ("no PASID, PPS", PPS, ppar, LAST, SUCCESS),
        ("no PASID, so the STE does not matter", V3_2, bad, LAST, SUCCESS),
        ("PASID, PPAR = 0", V3_2, good, WITH_PASID, SUCCESS),
        ("PASID, PPAR = 1", V3_2, ppar, WITH_PASID, SUCCESS_WITH_PASID),
        ("PASID, PPS, PPAR = 0", PPS, good, WITH_PASID, SUCCESS_WITH_PASID),
        ("PASID, PPS, so the STE does not matter", PPS, bad, WITH_PASID, SUCCESS_WITH_PASID),
        ("PASID, V = 0", V3_2, bad, WITH_PASID, FAILURE),
        ("PASID, ILLEGAL STE", V3_2, illegal, WITH_PASID, FAILURE),
        ("PASID, StreamID out of range", V3_2, ppar, other, FAILURE),
        ("Stop Marker", V3_2, ppar, STOP_MARKER, DISCARDED),
        ("Stop Marker, PPS", PPS, ppar, STOP_MARKER, DISCARDED),
        (
            "L, W, R = 100 without a PASID is a request",
            V3_2,
            ppar,
            PageRequest { read: false, ..LAST },
            SUCCESS,
        ),
    ];
    for (name, features, ste, request, expected) in rows {
        let mut device = overflowing(*features);
        device.install_ste(SID, ste);
        assert_eq!(send(&mut device, request), *expected, "{name}");
        assert!(device.events().is_empty(), "{name}: no record");
        assert_eq!(device.read32(register::PRIQ_PROD), value::OVERFLOW | 1, "{name}");
    }
}

#[test]
fn an_overflow_with_an_ste_that_cannot_be_read() {
    let mut device = overflowing(Features::SMMUV3_2);
    device.write_cr0(value::CMDQEN | value::EVENTQEN);
    device.write64(register::STRTAB_BASE, 0x4_0000); // no memory there
    device.write_cr0(ON | value::PRIQEN);
    assert_eq!(send(&mut device, &WITH_PASID), FAILURE);
}

/// Effective PRIQEN = 0 and PRIQ_ABT_ERR: every request fails, without a PASID; a Stop Marker is never answered.
#[test]
fn a_closed_queue_fails_every_request() {
    type Closed = (&'static str, fn(&mut Device));
    let closed: [Closed; 3] = [
        ("PRIQEN = 0", |device| device.write_cr0(ON)),
        ("SMMUEN = 0", |device| device.write_cr0(value::CMDQEN | value::EVENTQEN | value::PRIQEN)),
        ("PRIQ_ABT_ERR", |device| {
            device.write_cr0(ON);
            device.write64(register::PRIQ_BASE, 0x4_0000 | 3);
            device.write_cr0(ON | value::PRIQEN);
            assert_eq!(send(device, &NOT_LAST), FAILURE, "the one whose write aborts");
            assert_eq!(device.read32(register::GERROR), value::PRIQ_ABT_ERR);
        }),
    ];
    for (name, close) in closed {
        let mut device = at(Features { pps: true, ..Features::SMMUV3_2 }, QUEUE, 3);
        close(&mut device);
        let pulses = device.lines.clone();
        for (request, expected) in
            [(LAST, FAILURE), (NOT_LAST, FAILURE), (WITH_PASID, FAILURE), (STOP_MARKER, DISCARDED)]
        {
            assert_eq!(send(&mut device, &request), expected, "{name}: {request:?}");
        }
        assert_eq!(device.read32(register::PRIQ_PROD), 0, "{name}: nothing written, and no overflow");
        assert_eq!(device.lines, pulses, "{name}: no interrupt");
    }
}

#[test]
fn an_acknowledged_abort_opens_the_queue_again() {
    let mut device = at(Features::SMMUV3_2, 0x4_0000, 3);
    assert_eq!(send(&mut device, &LAST), FAILURE);
    assert_eq!((device.read32(register::GERROR), device.lines.gerror), (value::PRIQ_ABT_ERR, 1));
    assert_eq!((device.read32(register::PRIQ_PROD), device.lines.priq), (0, 0), "PROD does not advance");
    device.write_cr0(ON);
    device.write64(register::PRIQ_BASE, QUEUE | 3);
    device.write_cr0(ON | value::PRIQEN);
    assert_eq!(send(&mut device, &LAST), FAILURE, "not acknowledged yet");
    assert_eq!(device.lines.gerror, 1);
    device.write32(register::GERRORN, value::PRIQ_ABT_ERR);
    assert_eq!(send(&mut device, &LAST), QUEUED);
    assert_eq!(device.lines.priq, 1);
}

#[test]
fn a_stop_marker_is_queued_like_any_message() {
    let mut device = booted(3);
    assert_eq!(send(&mut device, &STOP_MARKER), QUEUED);
    assert_eq!(device.lines.priq, 1);
}

#[test]
fn without_lo_the_interrupt_follows_from_empty_to_not_empty() {
    let mut device = booted(3);
    for (request, pulses) in [(NOT_LAST, 1), (LAST, 1), (NOT_LAST, 1)] {
        send(&mut device, &request);
        assert_eq!(device.lines.priq, pulses);
    }
    device.write32(register::PRIQ_CONS, 3);
    send(&mut device, &NOT_LAST);
    assert_eq!(device.lines.priq, 2);
}

#[test]
fn with_lo_the_interrupt_follows_a_last_message() {
    let mut device = booted(1);
    device.write32(register::IRQ_CTRL, 0);
    device.write32(register::PRIQ_IRQ_CFG2, 1 << 31);
    device.write32(register::IRQ_CTRL, value::PRIQ_IRQEN);
    let conversation = [
        ("Last = 0 into an empty queue", NOT_LAST, QUEUED, 0),
        ("Last = 1", LAST, QUEUED, 1),
        ("overflow, Last = 0", NOT_LAST, DISCARDED, 1),
        ("overflow, Last = 1", LAST, SUCCESS, 2),
    ];
    for (name, request, outcome, pulses) in conversation {
        assert_eq!(send(&mut device, &request), outcome, "{name}");
        assert_eq!(device.lines.priq, pulses, "{name}");
    }
    device.write_cr0(ON);
    assert_eq!(send(&mut device, &LAST), FAILURE);
    assert_eq!(device.lines.priq, 2, "discarded for another reason");
}

#[test]
fn lo_works_without_messages() {
    let mut device = at(Features { msi: false, ..Features::SMMUV3_2 }, QUEUE, 3);
    device.write32(register::IRQ_CTRL, 0);
    device.write32(register::PRIQ_IRQ_CFG2, u32::MAX);
    assert_eq!(device.read32(register::PRIQ_IRQ_CFG2), 1 << 31, "MemAttr and SH are RES0, LO is not");
    device.write32(register::IRQ_CTRL, value::PRIQ_IRQEN);
    send(&mut device, &NOT_LAST);
    assert_eq!(device.lines.priq, 0);
}

#[test]
fn the_interrupt_has_an_enable_and_may_be_a_message() {
    let mut device = booted(3);
    let message = RAM_BASE + 0x8_0000;
    device.write32(register::IRQ_CTRL, 0);
    device.write64(register::PRIQ_IRQ_CFG0, message);
    device.write32(register::PRIQ_IRQ_CFG1, 0xfeed);
    send(&mut device, &LAST);
    device.write32(register::IRQ_CTRL, value::PRIQ_IRQEN);
    assert_eq!(
        (device.lines.priq, device.ram.word(message)),
        (0, Some(0)),
        "nothing for what happened before"
    );
    device.write32(register::PRIQ_CONS, 1);
    send(&mut device, &LAST);
    assert_eq!((device.lines.priq, device.ram.word(message)), (1, Some(0xfeed)));
}

#[test]
fn a_message_that_aborts_loses_no_request() {
    let mut device = booted(3);
    device.write32(register::IRQ_CTRL, 0);
    device.write64(register::PRIQ_IRQ_CFG0, 0x1000);
    device.write32(register::IRQ_CTRL, value::PRIQ_IRQEN);
    assert_eq!(send(&mut device, &LAST), QUEUED);
    assert_eq!(device.read32(register::GERROR), value::MSI_PRIQ_ABT_ERR);
    assert_eq!(device.read32(register::PRIQ_PROD), 1);
}

/// Offset, bits that keep what is written, and the enable that guards them.
#[test]
fn registers_have_guards() {
    let mut device = Device::booted(Features::SMMUV3_2, Settings::new(4, 4), 2);
    let wide = [
        (register::PRIQ_BASE, 0x400f_ffff_ffff_ffff, (register::CR0, ON | value::PRIQEN, ON)),
        (register::PRIQ_IRQ_CFG0, 0x000f_ffff_ffff_fffc, (register::IRQ_CTRL, value::PRIQ_IRQEN, 0)),
    ];
    for (offset, mask, (control, on, off)) in wide {
        device.write64(offset, u64::MAX);
        assert_eq!(device.read64(offset), mask, "{offset:#x}");
        device.write32(control, on);
        device.write64(offset, 0);
        assert_eq!(device.read64(offset), mask, "{offset:#x}, guarded");
        device.write32(control, off);
        device.write64(offset, 0);
        assert_eq!(device.read64(offset), 0, "{offset:#x}, open again");
    }
    let narrow = [
        (register::PRIQ_PROD, 0x800f_ffff, (register::CR0, ON | value::PRIQEN, ON)),
        (register::PRIQ_IRQ_CFG1, 0xffff_ffff, (register::IRQ_CTRL, value::PRIQ_IRQEN, 0)),
        (register::PRIQ_IRQ_CFG2, 0x8000_003f, (register::IRQ_CTRL, value::PRIQ_IRQEN, 0)),
    ];
    for (offset, mask, (control, on, off)) in narrow {
        device.write32(offset, u32::MAX);
        assert_eq!(device.read32(offset), mask, "{offset:#x}");
        device.write32(control, on);
        device.write32(offset, 0);
        assert_eq!(device.read32(offset), mask, "{offset:#x}, guarded");
        device.write32(control, off);
        device.write32(offset, 0);
        assert_eq!(device.read32(offset), 0, "{offset:#x}, open again");
    }
    device.write_cr0(ON | value::PRIQEN);
    device.write32(register::PRIQ_CONS, u32::MAX);
    assert_eq!(device.read32(register::PRIQ_CONS), 0x800f_ffff, "CONS is always writable");
}

/// PRIQEN reads back and is acknowledged as written: SMMUEN masks its effect alone.
#[test]
fn priq_base_is_guarded_by_priqen_itself() {
    let mut device = booted(3);
    device.write_cr0(value::PRIQEN);
    device.write64(register::PRIQ_BASE, 0);
    assert_ne!(device.read64(register::PRIQ_BASE), 0);
}

#[test]
fn without_pri_there_is_nothing() {
    let features = Features { pri: false, priqs: 0, ..Features::SMMUV3_2 };
    let mut device = Device::booted(features, Settings::new(4, 4), 2);
    for offset in [register::PRIQ_BASE, register::PRIQ_IRQ_CFG0, register::PRIQ_IRQ_CFG1, register::PRIQ_PROD]
    {
        device.write32(offset, u32::MAX);
        device.write32(offset + 4, u32::MAX);
        assert_eq!((device.read32(offset), device.read32(offset + 4)), (0, 0), "{offset:#x}");
    }
    device.write32(register::CR0, ON | value::PRIQEN);
    assert_eq!(device.read32(register::CR0ACK), ON);
    device.write32(register::IRQ_CTRL, value::PRIQ_IRQEN);
    assert_eq!(device.read32(register::IRQ_CTRLACK), 0);
    assert_eq!(send(&mut device, &LAST), FAILURE);
    let stopped = device.submit(&[pri_resp(SID, None, 1, 0b10)]);
    assert_eq!(stopped.map_err(|stopped| stopped.code), Err(value::CERROR_ILL));
}

#[test]
fn cmd_pri_resp_is_passed_on() {
    let mut device = booted(3);
    for (ssid, group, code, response) in [
        (None, 0, 0b00, PageResponse::Failure),
        (None, 0x1ff, 0b01, PageResponse::Invalid),
        (Some(0xabcde), 0x123, 0b10, PageResponse::Success),
    ] {
        device.run(&[pri_resp(0xfedc, ssid, group, code)]);
        assert_eq!(device.watch.answers.pop(), Some((0xfedc, ssid, group as u16, response)));
    }
    let stopped = device.submit(&[pri_resp(SID, None, 1, 0b11)]);
    assert_eq!(stopped.map_err(|stopped| stopped.code), Err(value::CERROR_ILL));
    assert_eq!(device.recover(), Ok(()));
    device.run(&[pri_resp(0x1_0000, None, 1, 0b10)]);
    assert!(device.watch.answers.is_empty(), "no such StreamID: no effect");
    device.write_cr0(value::CMDQEN);
    device.run(&[pri_resp(SID, None, 1, 0b10), tlbi_nsnh_all()]);
    assert!(device.watch.answers.is_empty(), "ignored while SMMUEN is 0");
}

/// events.md §2, 0x24, by hand: uX 97, uW 98, uR 99, pX 101, pW 102, pR 103, Span `[115:108]`, InputAddr from bit 140 up.
#[test]
fn page_hints_bit_by_bit() {
    let none = PageHint {
        stream: StreamId(SID),
        substream: None,
        address: Iova(0),
        pages: 0,
        unprivileged: [false; 3],
        privileged: [false; 3],
    };
    let rows = [
        ("nothing", none, [0x0000_0007_0000_0024, 0, 0, 0]),
        (
            "SubstreamID",
            PageHint { substream: Some(SubstreamId(0xabcde)), ..none },
            [0x0000_0007_abcd_e824, 0, 0, 0],
        ),
        (
            "uX",
            PageHint { unprivileged: [false, false, true], ..none },
            [0x0000_0007_0000_0024, 1 << 33, 0, 0],
        ),
        (
            "uW",
            PageHint { unprivileged: [false, true, false], ..none },
            [0x0000_0007_0000_0024, 1 << 34, 0, 0],
        ),
        (
            "uR",
            PageHint { unprivileged: [true, false, false], ..none },
            [0x0000_0007_0000_0024, 1 << 35, 0, 0],
        ),
        ("pX", PageHint { privileged: [false, false, true], ..none }, [0x0000_0007_0000_0024, 1 << 37, 0, 0]),
        ("pW", PageHint { privileged: [false, true, false], ..none }, [0x0000_0007_0000_0024, 1 << 38, 0, 0]),
        ("pR", PageHint { privileged: [true, false, false], ..none }, [0x0000_0007_0000_0024, 1 << 39, 0, 0]),
        ("Span", PageHint { pages: 0xff, ..none }, [0x0000_0007_0000_0024, 0xff << 44, 0, 0]),
        (
            "InputAddr",
            PageHint { address: Iova(0xfedc_ba98_7654_3210), ..none },
            [0x0000_0007_0000_0024, 0, 0xfedc_ba98_7654_3000, 0],
        ),
    ];
    let mut device = booted(3);
    for (name, hint, expected) in rows {
        device.call(|smmu, env| smmu.page_hint(&hint, env));
        assert_eq!(device.events(), [expected], "{name}");
    }
    for _ in 0..33 {
        device.call(|smmu, env| smmu.page_hint(&none, env));
    }
    assert_eq!(device.read32(register::EVENTQ_PROD) & value::OVERFLOW, value::OVERFLOW, "like any record");
}
