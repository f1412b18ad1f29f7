//! Where stage 2 is implemented: alone and nested.

use guest::command::{self, Range};
use guest::descriptor::{block2, index, page, page2, table};
use guest::ste;

use crate::chapters::{attempt, obey};
use crate::machine::{EDU_STREAM, say, write_words, write64};
use crate::memory::{A, ASID, B, C, CD, STAGE2, STREAM_TABLE, VA, context, set_page, set_ste};

const VMID: u16 = 3;

/// Both.
pub(crate) fn stage2() {
    say!("# stage 2");
    let slot = |level: usize, address: u64| STAGE2[level] + index(address, level as u32) * 8;
    // The first GiB of memory is what it is, but for the 2 MiB around A: there pages decide.
    write64(slot(0, A), table(STAGE2[1]));
    write64(slot(1, A), table(STAGE2[2]));
    for block in (0x4000_0000..0x4800_0000).step_by(0x20_0000) {
        write64(slot(2, block), block2(block));
    }
    write64(slot(2, A), table(STAGE2[3]));
    write64(slot(3, A), page2(B));
    write64(slot(3, B), page2(A));
    write64(slot(3, C), page2(C) & !(1 << 7));
    set_ste(&ste::stage2(VMID, STAGE2[0]));
    obey(&[command::cfgi_ste(EDU_STREAM), command::tlbi_s12_vmall(VMID)]);
    attempt("A is B", A);
    attempt("B is A", B);
    attempt("read-only in stage 2", C);
    attempt("not mapped in stage 2", A + 0x3000);
    attempt("beyond the first GiB", 0x1_4000_0000);
    attempt("beyond S2T0SZ", 1 << 50);
    write64(slot(3, A), page2(C));
    obey(&[command::tlbi_s2_ipa(VMID, A, Range { num: 0, scale: 0, tg: 1, ttl: 3 })]);
    attempt("A is C", A);
    write64(slot(3, A), page2(A));
    obey(&[command::tlbi_s2_ipa(VMID, A, Range::default())]);
    attempt("A is A", A);

    say!("# both stages");
    // One CD, at an IPA.
    set_ste(&ste::nested(CD, VMID, STAGE2[0]));
    set_page(0, page(A));
    set_page(1, page(B));
    set_page(2, page(A + 0x3000));
    set_page(3, page(C));
    write_words(CD, &context());
    obey(&[command::cfgi_ste(EDU_STREAM), command::tlbi_s12_vmall(VMID)]);
    attempt("nested: A", VA);
    attempt("nested: B is A", VA + 0x1000);
    attempt("nested: no stage 2", VA + 0x2000);
    attempt("nested: read-only in stage 2", VA + 0x3000);
    attempt("nested: no stage 1", VA + 0x8000);
    write64(slot(3, A), page2(B));
    obey(&[command::tlbi_s2_ipa(VMID, A, Range::default()), command::tlbi_nh_all(VMID)]);
    attempt("nested: A is B", VA);
    set_page(0, page(B));
    obey(&[command::tlbi_nh_va(VMID, ASID, VA, Range { num: 0, scale: 0, tg: 1, ttl: 3 })]);
    attempt("nested: B is A by stage 1", VA);
    // Another VMID's invalidation is of no concern; S12_VMALL of this one is.
    set_page(0, page(A));
    obey(&[command::tlbi_s12_vmall(VMID)]);
    attempt("nested: A is B again", VA);

    // Tables of stage 1 that stage 2 does not map.
    write64(slot(2, STREAM_TABLE), 0);
    obey(&[command::tlbi_s12_vmall(VMID), command::cfgi_all()]);
    attempt("nested: CD not mapped", VA);
    write64(slot(2, STREAM_TABLE), block2(STREAM_TABLE & !0x1f_ffff));
    obey(&[command::tlbi_s12_vmall(VMID), command::cfgi_all()]);
    attempt("nested: well again", VA);
}
