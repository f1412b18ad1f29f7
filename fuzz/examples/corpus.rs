//! todo
fn main() {
    let args: Vec<_> = std::env::args().collect();
    let (_, run) = smmuv3_fuzz::TARGETS.into_iter().find(|(name, _)| *name == args[1]).unwrap();
    run(&std::fs::read(&args[2]).unwrap());
}
