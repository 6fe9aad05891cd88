//! `burn-skip plan`, and what the program prints about itself.

mod support;

use serde_json::Value;
use support::{folder, run, shown, succeed, write};

const TEMPLATES: [&str; 7] = [
    "unet",
    "unet-unpadded",
    "smp-unet-resnet18",
    "monai-basic-unet",
    "resnet18",
    "resnet50",
    "densenet121",
];

#[test]
fn the_templates_are_listed() {
    let text = succeed(&["plan", "--list-templates"]);
    assert_eq!(text.lines().collect::<Vec<_>>(), TEMPLATES);
}

#[test]
fn every_template_can_be_planned() {
    let out = folder("plan");
    for template in TEMPLATES {
        let net = succeed(&["plan", "--template", template]);
        let channels = match net.contains("\"in_channels\": 1,") {
            true => "1x1x224x224",
            false => "1x3x224x224",
        };
        let net = write(&out, "net.json", net);
        for ending in ["svg", "dot", "mmd"] {
            let diagram = shown(&out, &format!("net.{ending}"));
            let text = succeed(&["plan", &net, "--input", channels, "--diagram", &diagram]);
            assert!(text.contains("parameters: "), "{text}");
            let written = std::fs::metadata(&diagram).expect("a diagram");
            assert!(written.len() > 100);
        }
        let text = succeed(&["plan", &net, "--input", channels, "--format", "json"]);
        let plan: Value = serde_json::from_str(&text).expect("JSON");
        assert!(plan["root"].is_object());
    }
}

#[test]
fn an_input_that_does_not_fit_is_explained_with_exit_code_1() {
    let out = folder("misfit");
    let net = write(&out, "net.json", succeed(&["plan", "--template", "unet"]));
    let output = run(&["plan", &net, "--input", "1x4x64x64"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("does not fit"), "{text}");
}

#[test]
fn the_schema_is_json() {
    let schema: Value = serde_json::from_str(&succeed(&["plan", "--schema"])).expect("JSON");
    assert!(schema["$schema"].is_string());
}

#[test]
fn shells_complete_the_command_line() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = succeed(&["completions", shell]);
        assert!(script.contains("burn-skip"), "{shell}");
    }
}

#[test]
fn every_subcommand_has_a_help() {
    for command in [
        "plan",
        "train",
        "eval",
        "predict",
        "export",
        "convert",
        "completions",
    ] {
        let text = succeed(&[command, "--help"]);
        assert!(
            text.contains(&format!("Usage: burn-skip {command}")),
            "{text}"
        );
        assert!(!text.contains("slow"), "{text}");
    }
}
