//! argv in, exit code out.

/// One heap that gives back what is free. glibc keeps one a thread, and holes between what stays: a run beside a training
/// grew by 6 MiB a minute where this one stays flat (docs/performance.md).
#[cfg(all(
    target_os = "linux",
    not(any(feature = "alloc-glibc", feature = "alloc-jemalloc", feature = "alloc-mimalloc"))
))]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// What it gives back, and when, is set when it is built (`benches/soak`).
#[cfg(all(target_os = "linux", feature = "alloc-jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(all(target_os = "linux", feature = "alloc-mimalloc"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    rcsync::program()
}
