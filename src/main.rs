//! argv in, exit code out.

/// One heap that gives back what is free. glibc keeps one a thread, and holes between what stays: a run beside a training
/// took three times the memory (docs/performance.md). Rust alone: it needs nothing more to be built.
#[cfg(all(
    target_os = "linux",
    not(any(feature = "alloc-glibc", feature = "alloc-jemalloc", feature = "alloc-mimalloc"))
))]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// The allocator of packages: a long run takes less memory. Its settings are compiled in (`packaging/jemalloc`).
#[cfg(all(target_os = "linux", feature = "alloc-jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(all(target_os = "linux", feature = "alloc-mimalloc"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    rcsync::program()
}
