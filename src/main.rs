//! argv in, exit code out.

/// One heap that gives back what is free. glibc keeps one a thread, and holes between what stays: a run beside a training
/// grew by 6 MiB a minute where this one stays flat (docs/performance.md).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> std::process::ExitCode {
    rcsync::program()
}
