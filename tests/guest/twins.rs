//! Two devices that were asked the same, one of them with nobody who wants to know of each entry.

use smmuv3::Smmu;

/// Whether both hold the same: registers, entries in their slots, tables, structures.
///
/// # Errors
/// What differs first.
pub fn same<const N: usize>(watched: &Smmu<N>, alone: &Smmu<N>) -> Result<(), String> {
    fn all<T: PartialEq + core::fmt::Debug>(
        what: &str,
        watched: impl Iterator<Item = T>,
        alone: impl Iterator<Item = T>,
    ) -> Result<(), String> {
        let (watched, alone): (Vec<T>, Vec<T>) = (watched.collect(), alone.collect());
        let only = |some: &[T], others: &[T]| {
            some.iter()
                .filter(|one| !others.contains(one))
                .map(|one| format!("\n    {one:x?}"))
                .collect::<String>()
        };
        if watched == alone {
            return Ok(());
        }
        Err(format!(
            "{what}\n  watched alone:{}\n  unwatched alone:{}",
            only(&watched, &alone),
            only(&alone, &watched)
        ))
    }
    if watched.registers() != alone.registers() {
        return Err("registers".to_owned());
    }
    all("IOTLB", watched.iotlb().entries(), alone.iotlb().entries())?;
    all("tables", watched.walk_cache().entries(), alone.walk_cache().entries())?;
    all("STEs", watched.config_cache().stes(), alone.config_cache().stes())?;
    all("CDs", watched.config_cache().cds(), alone.config_cache().cds())
}
