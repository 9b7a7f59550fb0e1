//! Describes the machine on which the figures were measured.

use std::process::Command;

/// What `/proc` and some tools say about the machine. A tool that is missing is given as "unknown".
pub fn facts() -> Vec<(&'static str, String)> {
    let cpu = line("/proc/cpuinfo", "model name");
    let memory = line("/proc/meminfo", "MemTotal");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        ("cores", cores.to_string()),
        ("processor", cpu),
        ("memory", memory),
        ("kernel", kernel.trim().to_owned()),
        ("rustc", said(&["rustc", "--version"])),
        ("commit", said(&["git", "describe", "--always", "--dirty"])),
    ]
}

fn line(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    value.map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

fn said(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let text = output.ok().filter(|output| output.status.success());
    text.map_or("unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
