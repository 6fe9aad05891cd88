//! What `burn-skip train` starts from, what makes its steps, and which of its epochs is used.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use burn_skip::net::{
    AnySegmentationModel, ClassifierConfig, EncoderConfig, NetConfig, ResNetEncoderConfig,
    SegmentationConfig, UnetConfig,
};
use burn_skip::weights::{Names, save};
use safetensors::SafeTensors;
use serde_json::Value;
use support::{NET, NUCLEI, epochs, fail, folder, run, shown, succeed, trained, words, write};

/// A training of one step.
const ONE_STEP: &str = "train --epochs 1 --steps 1 --batch 1 --crop 32 --out";

/// The tensors that `burn-skip export` writes of a training.
fn exported(model: &str) -> BTreeMap<String, Vec<u8>> {
    let file = format!("{model}/exported.safetensors");
    succeed(&["export", "--model", model, "--out", &file]);
    let bytes = fs::read(file).expect("a file");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let tensors = tensors.tensors().into_iter();
    tensors
        .map(|(name, tensor)| (name, tensor.data().to_vec()))
        .collect()
}

/// Whether a tensor is of the encoder.
fn of_encoder(name: &str) -> bool {
    name.starts_with("encoder.")
}

fn json(net: &NetConfig) -> String {
    serde_json::to_string(net).expect("JSON")
}

/// A U-Net on a small ResNet for images of one channel.
fn resnet_unet(classes: usize) -> SegmentationConfig {
    let encoder = ResNetEncoderConfig::resnet18().with_width(8);
    let encoder = EncoderConfig::ResNet(encoder.with_in_channels(1));
    SegmentationConfig::smp_unet(encoder, classes)
}

#[test]
fn a_frozen_encoder_keeps_its_weights_and_its_statistics() {
    let out = folder("frozen");
    let (before, after) = (shown(&out, "before"), shown(&out, "after"));
    succeed(&words(ONE_STEP, &[&before]));
    let from = exported(&before);
    let count = from.len();
    let weights = shown(&out, "before/exported.safetensors");
    // The folder has the same, and so has its file.
    let dry = words(ONE_STEP, &[&after, "--dry-run", "--weights"]);
    for (from, file) in [
        (before.clone(), format!("{before}/checkpoint/model-1.bpk")),
        (format!("{before}/model.bpk"), format!("{before}/model.bpk")),
    ] {
        let text = succeed(&[&dry[..], &[from]].concat());
        let loaded = format!("weights of {file}: the whole network, {count} tensors\n");
        assert!(text.contains(&loaded), "{text}");
    }
    let unet = write(
        &out,
        "net.json",
        json(&NetConfig::Segmentation(resnet_unet(1))),
    );
    let text = fail(&[&dry[..], &[before.clone(), unet]].concat());
    assert!(
        text.contains("model-1.bpk holds another network: ") && text.contains("burn-skip export"),
        "{text}"
    );
    let train = words(ONE_STEP, &[&after, "--weights", &weights]);
    let frozen = [train.clone(), words("--freeze encoder", &[])].concat();
    let text = succeed(&frozen);
    assert!(
        text.contains(&format!(
            "weights of {weights}: the whole network, {count} tensors\n"
        )),
        "{text}"
    );
    // Resumed, it is frozen still.
    succeed(&words("train --resume --epochs 2 --out", &[&after]));
    let to = exported(&after);
    assert!(
        to.keys()
            .any(|name| name.ends_with("running_mean") && of_encoder(name))
    );
    for (name, values) in &to {
        let stays = from[name] == *values;
        assert!(stays || !of_encoder(name), "{name}");
    }
    assert_ne!(from["head.weight"], to["head.weight"]);

    let text = succeed(&[train, words("--overwrite", &[])].concat());
    assert!(text.contains("the whole network"), "{text}");
    let moved = exported(&after);
    let mean = |name: &&String| name.ends_with("running_mean") && of_encoder(name);
    let mean = from.keys().find(mean).expect("a batch norm");
    assert_ne!(from[mean], moved[mean]);
}

#[test]
fn an_encoder_and_a_network_without_its_head_are_loaded() {
    let out = folder("parts");
    let device = Device::flex();
    let path = |name: &str| shown(&out, name);
    let net = |name: &str, net: NetConfig| write(&out, name, json(&net));
    let unet = net("unet.json", NetConfig::Segmentation(resnet_unet(1)));
    let dry = |net: &str, weights: &str| {
        let options = words(
            ONE_STEP,
            &[&path("run"), net, "--weights", weights, "--dry-run"],
        );
        succeed(&options)
    };

    let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18().with_width(8));
    let classifier = ClassifierConfig::new(encoder, 10);
    let names = Names::torchvision(&classifier).expect("its names");
    let file = path("classifier.safetensors");
    save(&classifier.init::<4>(&device), &file, &names).expect("a file");
    let text = dry(&unet, &file);
    let loaded = format!(
        "weights of {file}: the encoder, 100 tensors; conv1.weight adapted from 3 to 1 channels; the decoder and the head \
         keep their initial values; 2 tensors of the file are not used\n"
    );
    assert!(text.contains(&loaded), "{text}");

    // segmentation_models.pytorch's network of two classes.
    let two: AnySegmentationModel = resnet_unet(2).init(&device);
    let names = Names::smp(&resnet_unet(2)).expect("its names");
    let file = path("smp.safetensors");
    save(&two, &file, &names).expect("a file");
    let text = dry(&unet, &file);
    assert!(
        text.contains("smp.safetensors: the network without a head, ")
            && text.contains(
                "; the head keeps its initial values; 2 tensors of the file are not used"
            ),
        "{text}"
    );
    let same = net("two.json", NetConfig::Segmentation(resnet_unet(2)));
    let file_of_two = words(
        ONE_STEP,
        &[&path("run"), &same, "--weights", &file, "--dry-run"],
    );
    // (The masks number the nuclei: this network is refused for another reason.)
    assert!(fail(&file_of_two).contains("is of class"));

    // MONAI's, which has two classes, too.
    let monai = UnetConfig::monai_basic(1, 1, [8, 8, 16, 32, 64, 8]);
    let monai = net("monai.json", NetConfig::Unet(monai));
    let file = shown(Path::new(NUCLEI), "monai_basic_unet.pth");
    let text = dry(&monai, &file);
    assert!(
        text.contains("the network without a head, 80 tensors; the head keeps"),
        "{text}"
    );

    // An own file of another decoder.
    let small = |widths: &str| {
        format!(
            r#"{{"Segmentation": {{"encoder": {{"Plain": {{"in_channels": 1, "widths": [4, 8, 16]}}}},
            "decoder": {{"Unet": {{"widths": {widths}}}}}, "out_channels": 1}}}}"#
        )
    };
    let first = write(&out, "first.json", small("[4, 8]"));
    let second = write(&out, "second.json", small("[6, 8]"));
    succeed(&words(ONE_STEP, &[&path("first"), &first]));
    exported(&path("first"));
    let file = path("first/exported.safetensors");
    let text = dry(&second, &file);
    assert!(
        text.contains("exported.safetensors: the encoder, ")
            && text.contains("; the decoder and the head keep their initial values; "),
        "{text}"
    );
}

#[test]
fn wrong_options_are_told_in_one_line() {
    let out = folder("wrong_recipe");
    let (run_folder, text_file) = (shown(&out, "run"), write(&out, "no.pth", "no weights"));
    let train = |more: &[&str]| [words(ONE_STEP, &[&run_folder]), words("", more)].concat();
    let nowhere = shown(&out, "nowhere.pth");
    let unet = write(
        &out,
        "net.json",
        json(&NetConfig::Segmentation(resnet_unet(1))),
    );
    let monai = shown(Path::new(NUCLEI), "monai_basic_unet.pth");
    for (options, error) in [
        (&["--weights", &nowhere][..], "nowhere.pth cannot be read"),
        (&["--weights", &text_file], "no.pth cannot be read"),
        (
            &["--weights", &monai],
            "monai_basic_unet.pth is of another network, and of another encoder: ",
        ),
        (
            &["--weights", &monai, &unet],
            "monai_basic_unet.pth is of another network, and of another encoder: ",
        ),
        (
            &["--freeze", "encoder"],
            "the encoder would stay as random as it begins. Start from a file with --weights.",
        ),
        (
            &["--momentum", "0.5"],
            "--momentum is an option of --optimizer sgd",
        ),
        (
            &["--warmup", "1"],
            "--warmup: 1 steps leave none of the 1 of the training",
        ),
    ] {
        let text = fail(&train(options));
        assert!(text.contains(error), "{options:?}: {text}");
        assert!(!Path::new(&run_folder).exists());
    }
    for (options, error) in [
        (["--ema", "1"], "1 is no number above 0 and below 1"),
        (["--ema", "-0.5"], ""),
        (["--ema", "1.5"], "1.5 is no number above 0 and below 1"),
        (["--freeze", "neck"], "[possible values: encoder]"),
        (["--clip-norm", "0"], "0 is no number above 0"),
        (["--foreground", "2"], "2 is no number from 0 to 1"),
        (["--encoder-rate", "0"], "0 is no number above 0"),
        (
            ["--optimizer", "lion"],
            "[possible values: adam, adamw, sgd]",
        ),
    ] {
        let output = run(&train(&options));
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(error), "{options:?}: {text}");
    }
    // From what has no foreground nothing can be learned, nor can it be centred on.
    let data = out.join("data");
    fs::create_dir(&data).expect("a folder");
    let image = image::GrayImage::from_fn(48, 32, |x, y| image::Luma([(x + y) as u8]));
    image.save(data.join("image.png")).expect("an image");
    let black = image::GrayImage::new(48, 32);
    black.save(data.join("labels.png")).expect("a mask");
    let data = data.display().to_string();
    let text = fail(&train(&["--data", &data, "--foreground", "0.5"]));
    assert!(
        text.contains("every pixel of the masks that are trained on is 0"),
        "{text}"
    );
}

#[test]
fn a_network_of_names_has_heads_of_coarser_steps() {
    let out = folder("supervised_names");
    let parameters = |steps: &str| {
        let names = "--encoder plain --decoder unet --dry-run --json --supervised-steps";
        let run = shown(&out, "run");
        let text = succeed(&[words(ONE_STEP, &[&run]), words(names, &[steps])].concat());
        let plan: Value = serde_json::from_str(&text).expect("one JSON object");
        plan["parameters"].as_u64().expect("a number")
    };
    // Two 1x1 convolutions of the channels of the second and the third step, 64 and 128, to one.
    assert_eq!(parameters("2") - parameters("0"), 64 + 1 + 128 + 1);
}

#[test]
fn a_recipe_is_kept_and_an_older_file_has_none() {
    let out = folder("kept_recipe");
    let path = out.display().to_string();
    trained(&out, &["--ema", "0.5", "--optimizer", "adamw"]);
    let file = out.join("training.json");
    let text = fs::read_to_string(&file).expect("options");
    let saved: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(saved["ema"], 0.5);
    assert_eq!(saved["optimizer"]["AdamW"]["weight_decay"], 0.01);
    let text = fail(&["train", "--resume", "--ema", "0.9", "--out", &path]);
    assert!(
        text.contains("--ema differs from the saved training: asked for 0.9, saved is 0.5"),
        "{text}"
    );
    succeed(&["train", "--resume", "--ema", "0.5", "--out", &path]);
    let text = fail(&["train", "--resume", "--weight-decay", "0.1", "--out", &path]);
    assert!(text.contains("--optimizer differs"), "{text}");

    trained(&out, &["--overwrite"]);
    let text = fs::read_to_string(&file).expect("options");
    let mut older: Value = serde_json::from_str(&text).expect("JSON");
    let options = older.as_object_mut().expect("an object");
    for new in [
        "optimizer",
        "schedule",
        "clip_norm",
        "ema",
        "weights",
        "freeze",
        "encoder_rate",
        "foreground",
    ] {
        assert!(options.remove(new).is_some(), "{new}");
    }
    write(&out, "training.json", older.to_string());
    succeed(&["train", "--resume", "--epochs", "2", "--out", &path]);
    assert_eq!(epochs(&out).len(), 2);

    older["ema"] = 1.5.into();
    write(&out, "training.json", older.to_string());
    let text = fail(&["train", "--resume", "--out", &path]);
    assert!(
        text.contains("training.json: ema: 1.5 is no number above 0 and below 1"),
        "{text}"
    );
}

#[test]
fn the_best_epoch_is_kept_and_used() {
    let out = folder("best");
    let path = out.display().to_string();
    let net = write(&out, "u.json", NET);
    let options = "train --epochs 6 --steps 10 --batch 1 --crop 48 --optimizer sgd --schedule constant \
                   --learning-rate 0.1 --overwrite --out";
    // With so large a rate the IoU falls again. (With which seed depends on the machine.)
    let trainings = (1..20).map(|seed: usize| {
        let seed = seed.to_string();
        let text = succeed(&words(options, &[&path, &net, "--seed", &seed]));
        let history = epochs(&out);
        let iou = |epoch: &Value| epoch["iou"].as_f64().expect("an IoU");
        let iou: Vec<f64> = history.iter().map(iou).collect();
        let best = (0..6).reduce(|best, epoch| if iou[epoch] > iou[best] { epoch } else { best });
        (text, iou, best.expect("an epoch") + 1)
    });
    let mut trainings = trainings.filter(|&(_, _, best)| best < 5);
    let (text, iou, best) = trainings.next().expect("a training that gets worse");
    let iou = |epoch: usize| iou[epoch - 1];
    assert!(
        text.contains(&format!("model.bpk (epoch {best} of 6 (validation IoU ")),
        "{text}"
    );
    for epoch in 1..=6 {
        for part in ["model", "optim", "scheduler"] {
            let file = out.join(format!("checkpoint/{part}-{epoch}.bpk"));
            assert_eq!(
                file.is_file(),
                epoch >= 5 || epoch == best,
                "{part} {epoch}"
            );
        }
    }
    let page = fs::read_to_string(out.join("report.html")).expect("a report");
    for part in [
        &format!("<b>{:.3}</b>, Dice <b>", iou(best))[..],
        &format!("<tr class=\"best\"><td>{best}</td>"),
        "<td>optimizer</td><td>{&quot;Sgd&quot;:{&quot;momentum&quot;:0.9",
        "<h3>image: IoU 0.",
        "src=\"data:image/png;base64,iVBORw0KGgo",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("http"), "it needs another file");
    let model = shown(&out, "model.bpk");
    for (of, more, epoch) in [
        (&path, None, best),
        (&path, Some("--last"), 6),
        (&model, None, best),
    ] {
        let mut eval = words("eval --valid --json --model", &[of]);
        eval.extend(more.map(String::from));
        let text = succeed(&eval);
        let all: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        let found = all["iou"].as_f64().expect("an IoU");
        assert!((found - iou(epoch)).abs() < 1e-6, "{of} {more:?}: {found}");
    }
    let text = succeed(&["eval", "--valid", "--last", "--model", &path]);
    assert!(
        text.starts_with("using epoch 6 of 6 (validation IoU 0."),
        "{text}"
    );
    let text = fail(&["eval", "--last", "--model", &model]);
    assert!(
        text.contains("--last: ") && text.contains("is one file of weights"),
        "{text}"
    );
    // Without its checkpoints, a folder still has its model.
    fs::remove_dir_all(out.join("checkpoint")).expect("a folder that can be removed");
    let text = succeed(&["eval", "--valid", "--model", &path]);
    assert!(
        text.starts_with("using ") && text.contains("model.bpk\n"),
        "{text}"
    );
}
