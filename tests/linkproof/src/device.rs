//! The device: registers, queues, caches and every kind of traffic, in any state that it can be in.

use core::hint::black_box;

use smmuv3::cache::iotlb::Invalidation;
use smmuv3::format::command::Command;
use smmuv3::format::regs::{Reg, cr0};
use smmuv3::walk::Keep;
use smmuv3::{
    Configuration, Env, Features, Ipa, NoInterrupts, NoTrace, Settings, Smmu, StreamId, SubstreamId, Trace,
};

use crate::host::Anything;
use crate::values::{ENTRY, PAGE_HINT, PAGE_REQUEST, SPACE, TABLE, TRANSACTION, any_command};
use crate::{any, keep};

const ENTRIES: usize = 64;

const CONFIGURATION: Configuration<ENTRIES> =
    match Configuration::new(Features::SMMUV3_3, Settings::new(16, 4)) {
        Ok(configuration) => configuration,
        Err(_) => panic!("SMMUv3.3 with 16 sets of 4 ways is a device"),
    };

/// A device after reset; `any` of it is a device in any state.
pub(crate) const DEVICE: Smmu<ENTRIES> = Smmu::of(CONFIGURATION);

/// All of it.
pub(crate) fn device() {
    if let Ok(smmu) = Smmu::<ENTRIES>::new(any(Features::SMMUV3_3), any(Settings::new(16, 4))) {
        keep(smmu);
    }
    let mut smmu = any(DEVICE);
    let smmu = black_box(&mut smmu);
    traffic(smmu);
    silent(smmu);
    registers(smmu);
    maintenance(smmu);
    inspection(smmu);
    caches(smmu);
    state(smmu);
    #[cfg(feature = "sync")]
    shared();
}

#[inline(never)]
fn traffic(smmu: &mut Smmu<ENTRIES>) {
    let host = &mut Anything;
    let transaction = any(TRANSACTION);
    keep(smmu.translate(&transaction, host));
    keep(smmu.walk(&transaction, host));
    keep(smmu.translation_request(&transaction, host));
    keep(smmu.translated(&transaction, host));
    keep(smmu.page_request(&any(PAGE_REQUEST), host));
    smmu.page_hint(&any(PAGE_HINT), host);
    keep(smmu.next_resumed(host));
    for (stag, transaction) in smmu.stalled() {
        keep((stag, transaction));
    }
}

/// The same with nobody watching: other code, since a device is compiled for its watcher.
#[inline(never)]
fn silent(smmu: &mut Smmu<ENTRIES>) {
    let (memory, interrupts) = (&mut Anything, &mut NoInterrupts);
    let env = &mut Env { memory, interrupts, trace: &mut NoTrace };
    let transaction = any(TRANSACTION);
    keep(smmu.translate(&transaction, env));
    keep(smmu.walk(&transaction, env.memory));
    keep(smmu.translation_request(&transaction, env));
    keep(smmu.translated(&transaction, env));
    keep(smmu.page_request(&any(PAGE_REQUEST), env));
    smmu.page_hint(&any(PAGE_HINT), env);
    keep(smmu.write(any(0), &any([0; 8]), env));
    keep(smmu.poll(any(0), env));
    keep(smmu.next_resumed(env));
    if let Some(command) = any_command() {
        keep(smmu.broadcast(&command, env));
    }
}

#[inline(never)]
fn registers(smmu: &mut Smmu<ENTRIES>) {
    let host = &mut Anything;
    let mut data = any([0; 16]);
    let length = any(8).min(data.len());
    if let Some(data) = data.get_mut(..length) {
        keep(smmu.read(any(0), data));
        keep(smmu.write(any(0), data, host));
    }
    keep(data);
    keep(smmu.window_bytes());
    let (registers, features) = (smmu.registers(), smmu.features());
    let register = any(Reg::Cr0);
    keep((
        registers.get(register),
        registers.field(register, cr0::VMW),
        registers.is_set(register, cr0::VMW),
    ));
    keep((registers.active_errors(), registers.position(register), registers.stream_table(features)));
    keep((registers.command_queue(features), registers.event_queue(features), registers.pri_queue(features)));
    keep(registers.scope_control(features));
}

#[inline(never)]
fn maintenance(smmu: &mut Smmu<ENTRIES>) {
    let host = &mut Anything;
    if let Some(command) = any_command() {
        keep(smmu.broadcast(&command, host));
        keep(smmu.scope(&command).map(|scope| smmu.applied(&scope)));
    }
    while smmu.pending() {
        keep(smmu.poll(any(0), host));
    }
    smmu.drop_caches();
    smmu.reset();
}

#[inline(never)]
fn inspection(smmu: &Smmu<ENTRIES>) {
    keep(smmu.settings());
    let (iotlb, tables, config) = (smmu.iotlb(), smmu.walk_cache(), smmu.config_cache());
    keep((iotlb.len(), iotlb.is_empty(), iotlb.geometry(), iotlb.entry(any(0)), iotlb.age(any(0))));
    iotlb.entries().for_each(keep);
    tables.entries().for_each(keep);
    config.stes().for_each(keep);
    config.cds().for_each(keep);
    keep((config.ste(any(StreamId(0))), config.cd(any(StreamId(0)), any(SubstreamId(0)))));
}

/// The caches by themselves, filled with what the device never fills them with.
#[inline(never)]
fn caches(smmu: &Smmu<ENTRIES>) {
    let trace = &mut Anything;
    let mut iotlb = smmu.iotlb().clone();
    let mut tables = smmu.walk_cache().clone();
    let mut config = smmu.config_cache().clone();
    if let Some((stream, ste)) = smmu.config_cache().stes().next() {
        config.keep_ste(*stream, ste);
    }
    if let Some((stream, substream, cd)) = smmu.config_cache().cds().next() {
        config.keep_cd(*stream, *substream, cd);
    }
    iotlb.keep(&any(ENTRY), trace);
    keep(iotlb.find(&any(SPACE), any(0)));
    tables.keep(&any(TABLE));
    if let Some(command) = any_command() {
        config.invalidate(&command, trace);
        if let Some(letter) = smmu.scope(&command) {
            invalidate(&mut iotlb, &letter, &command, trace);
            invalidate(&mut iotlb, &letter, &command, &mut NoTrace);
            tables.invalidate(&letter, &command, trace);
        }
    }
    keep((&iotlb, &tables, &config));
    iotlb.clear();
    tables.clear();
    config.clear();
    keep((iotlb, tables, config));

    let forget = &mut smmuv3::walk::Forget;
    keep((forget.find(&any(SPACE), any(0), trace), forget.find_second(&any(SPACE), any(Ipa(0)), trace)));
}

fn invalidate<T: Trace>(
    iotlb: &mut smmuv3::cache::iotlb::Iotlb<ENTRIES>,
    letter: &smmuv3::cache::scope::Scope,
    by: &Command,
    trace: &mut T,
) {
    let scope = letter.relaxed();
    keep(iotlb.invalidate(&Invalidation { scope: &scope, letter, by }, trace));
}

#[inline(never)]
fn state(smmu: &Smmu<ENTRIES>) {
    let state = any(smmu.state());
    keep(state.features());
    state.registers().for_each(keep);
    if let Ok(smmu) = Smmu::<ENTRIES>::from_state(&state, any(Settings::new(16, 4))) {
        keep(smmu);
    }
}

#[cfg(feature = "sync")]
#[inline(never)]
fn shared() {
    use smmuv3::shared::Shared;

    static SHARED: Shared<ENTRIES> = Shared::new(DEVICE);
    let host = &mut Anything;
    let shared = any(&SHARED);
    keep(shared.read(any(0), &mut any([0; 4])));
    keep(shared.write(any(0), &any([0; 4]), host));
    keep((shared.pending(), shared.poll(any(0), host), shared.next_resumed(host)));
    keep(shared.access(&any(TRANSACTION), host, |translation, _| translation.span));
    keep(shared.walk(&any(TRANSACTION), host));
    keep(shared.with(|smmu| smmu.iotlb().len()));
    keep(Shared::new(any(DEVICE)).into_inner());
}
