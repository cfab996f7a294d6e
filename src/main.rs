//! argv in, exit code out.

fn main() -> std::process::ExitCode {
    rcsync::cli::main()
}
