//! The `vnet` command. Everything is in the library; see `vnet::cli`.

fn main() -> std::process::ExitCode {
    vnet::cli::main()
}
