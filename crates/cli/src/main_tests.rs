//! Tests of the tree of commands, above all that kubectl's words pass untouched.

use super::*;

fn parse(words: &[&str]) -> Cli {
    Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// What kubectl would get, through clap and what puts a leading `--` back.
fn kubectl_args(words: &[&str]) -> Vec<String> {
    let raw: Vec<OsString> = words.iter().map(OsString::from).collect();
    match parse(words).command {
        Command::Kubectl(args) => {
            let args = kubectl_command::untouched(args.args, &raw);
            args.into_iter().map(|arg| arg.into_string().unwrap()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn everything_behind_kubectl_is_untouched() {
    let cases: &[&[&str]] = &[
        &["get", "pods"],
        &["-n", "shop", "get", "pods", "-o", "json"],
        &["--cluster", "other", "get", "pods"],
        &["--cluster=other", "--hub", "x", "--kubectl", "y", "--no-color", "version"],
        &["-o", "json", "get", "pods"],
        &["exec", "-it", "web-0", "--", "sh", "-c", "echo \"$A\" -- --help"],
        &["--", "get", "pods"],
        &["--", "--", "x"],
        &["exec", "web-0", "--", "--"],
        &["get", "pods", "--help"],
        &["help"],
        &["-h", "get"],
        &["--version"],
        &["-V"],
        &["-"],
        &["apply", "-f", "-"],
        &["get", "pods", "-l", "a in (b, c)", ""],
        &["", "x"],
        &["k", "kubectl", "login"],
        &["-it=false", "--v=9", "-v", "9", "--all=true", "-Aw"],
        &[],
    ];
    for name in ["kubectl", "k"] {
        for case in cases {
            let words: Vec<&str> = ["flotilla", "--cluster", "c", name].iter().chain(*case).copied().collect();
            assert_eq!(kubectl_args(&words), *case, "{words:?}");
        }
    }
}

#[cfg(unix)]
#[test]
fn arguments_need_not_be_text() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(vec![b'a', 0xff]);
    let raw = vec![OsString::from("flotilla"), OsString::from("k"), OsString::from("get"), odd.clone()];
    let Command::Kubectl(args) = Cli::try_parse_from(&raw).unwrap().command else { panic!("not kubectl") };
    assert_eq!(kubectl_command::untouched(args.args, &raw), [OsString::from("get"), odd]);
}

#[test]
fn options_in_front_are_ours() {
    let cli = parse(&["flotilla", "--cluster", "a", "--hub", "https://h", "k", "--cluster", "b"]);
    assert_eq!(cli.global.cluster.as_deref(), Some("a"));
    assert_eq!(cli.global.hub.unwrap().to_string(), "https://h");
}

#[test]
fn a_sole_help_flag_asks_us() {
    for (word, ours) in [("--help", true), ("-h", true), ("help", false)] {
        let Command::Kubectl(args) = parse(&["flotilla", "k", word]).command else { panic!("not kubectl") };
        assert_eq!(args.asks_for_help(), ours, "{word}");
    }
    let Command::Kubectl(args) = parse(&["flotilla", "k", "get", "--help"]).command else { panic!("not kubectl") };
    assert!(!args.asks_for_help());
}

fn each(command: &clap::Command, path: &str, visit: &mut impl FnMut(&str, &clap::Command)) {
    visit(path, command);
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        each(sub, &format!("{path} {}", sub.get_name()), visit);
    }
}

#[test]
fn every_command_shows_an_example_of_itself_and_says_what_it_is() {
    let mut count = 0;
    each(&Cli::command(), "flotilla", &mut |path, command| {
        count += 1;
        assert!(command.get_about().is_some(), "{path} does not say what it is");
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(examples.starts_with("Examples:\n  "), "{path} has no examples");
        let named = examples.contains(path) || path == "flotilla kubectl" && examples.contains("flotilla k ");
        assert!(named, "{path} has no example of itself: {examples}");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
        }
    });
    assert!(count > 30, "{count}");
}

/// The examples are commands that people copy: each must parse.
#[test]
fn every_example_parses() {
    each(&Cli::command(), "flotilla", &mut |path, command| {
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let parts = examples.lines().skip(1).flat_map(|line| line.split(['|', '>', '<', '&', ';']));
        for part in parts.filter(|part| part.trim().starts_with("flotilla ")) {
            let words = shlex::split(part).unwrap_or_else(|| panic!("{path}: quotes do not close: {part}"));
            if words.iter().any(|word| word.contains("...")) {
                continue;
            }
            assert!(Cli::try_parse_from(&words).is_ok(), "{path}: {part}");
        }
    });
}

#[test]
fn secrets_are_no_arguments() {
    each(&Cli::command(), "flotilla", &mut |path, command| {
        for argument in command.get_arguments() {
            let name = argument.get_id().as_str();
            let takes_value = argument.get_action().takes_values();
            let secret = name.contains("password") || name.contains("token");
            assert!(!takes_value || !secret || name.ends_with("_file"), "{path} --{name}");
        }
    });
}
