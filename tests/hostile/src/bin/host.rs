//! The `tidemill` command, built together with the tests that attack it.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tidemill_runtime::cli::main().into()
}
