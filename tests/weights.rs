//! Files of weights: what is read, what is refused and how, and that a refusal changes nothing.

use crate::golden;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use burn_skip::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use burn_skip::net::{
    AnySegmentationModel, ClassifierConfig, EfficientNetEncoderConfig, EncoderConfig,
    InvertedStage, MobileNetV2EncoderConfig, PlainEncoderConfig, ResNet, ResNetBlock,
    ResNetEncoderConfig, SegmentationConfig, VggEncoderConfig,
};
use burn_skip::norm::NormConfig;
use burn_skip::weights::{
    AdaptedInput, Architecture, Mismatch, Names, Report, WeightsError, WeightsFile, save,
};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// The module of the tiny files: a convolution from 2 to 3 channels and a batch norm, whose fields are
/// named as in the file.
fn tiny(channels: [usize; 2]) -> ConvNormAct {
    ConvNormActConfig::new(channels, 3).init(&Device::flex())
}

fn tiny_file(name: &str) -> PathBuf {
    golden::folder_of("networks").join(name)
}

/// A path in the folder for temporary files, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("burn-skip-weights-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn with(name: &str, bytes: &[u8]) -> Self {
        let scratch = Self::new(name);
        std::fs::write(&scratch.0, bytes).expect("a folder for temporary files");
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// All numbers of a module, as it would be saved.
fn numbers<M: Module>(module: &M) -> Vec<(String, Vec<f32>)> {
    let file = Scratch::new(&format!("{:?}.safetensors", std::thread::current().id()));
    save(module, &file.0, &Names::own()).expect("a file that can be written");
    let (_, tensors) = golden::read(&file.0);
    let mut numbers: Vec<_> = tensors
        .into_iter()
        .map(|(name, t)| (name, t.data))
        .collect();
    numbers.sort_by(|a, b| a.0.cmp(&b.0));
    numbers
}

/// Loads the file, which must be refused and leave the module as it was.
fn refused<M: Module>(path: &Path, mut module: M, names: &Names) -> WeightsError {
    let before = numbers(&module);
    let error = WeightsFile::open(path)
        .and_then(|file| file.load_into(&mut module, names))
        .expect_err("it must be refused");
    assert_eq!(numbers(&module), before, "the module has changed");
    error
}

#[test]
fn every_kind_of_file_gives_the_same_weights() {
    let load = |name: &str| {
        let mut module = tiny([2, 3]);
        let file = WeightsFile::open(tiny_file(name)).unwrap();
        let report = file.load_into(&mut module, &Names::own()).unwrap();
        assert_eq!(report.loaded.len(), 5, "{name}");
        assert_eq!(report.ignored, ["norm.num_batches_tracked"], "{name}");
        assert_eq!(report.values, 3 * 2 * 9 + 4 * 3, "{name}");
        numbers(&module)
    };
    let plain = load("tiny.safetensors");
    assert_eq!(load("tiny.pth"), plain);
    assert_eq!(load("tiny_checkpoint.pth"), plain); // under `state_dict`, beside the epoch
    assert_ne!(numbers(&tiny([2, 3])), plain);
}

#[test]
fn the_kind_of_a_file_is_seen_by_its_content() {
    for (name, other) in [
        ("tiny.safetensors", "renamed.pth"),
        ("tiny.pth", "renamed.bin"),
    ] {
        let renamed = Scratch::with(other, &std::fs::read(tiny_file(name)).unwrap());
        let file = WeightsFile::open(&renamed.0).unwrap();
        assert_eq!(file.tensors().count(), 6, "{name} as {other}");
    }
    // What is written is safetensors, whatever the name says.
    let file = Scratch::new("saved.pth");
    let error = save(&tiny([2, 3]), &file.0, &Names::own()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("let the name end in .safetensors."),
        "{error}"
    );
    assert!(!file.0.exists());
}

#[test]
fn a_part_of_a_file_is_a_file() {
    let names = Names::new([("conv", "ema.0.conv"), ("norm", "ema.0.norm")]);
    let file = Scratch::new("part.safetensors");
    let saved = tiny([2, 3]);
    save(&saved, &file.0, &names).unwrap();
    let opened = WeightsFile::open(&file.0).unwrap();
    let mut loaded = tiny([2, 3]);
    let part = opened.clone().under("ema.0").unwrap();
    part.load_into(&mut loaded, &Names::own()).unwrap();
    assert_eq!(numbers(&loaded), numbers(&saved));
    let error = opened.under("em").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("it holds no tensors under \"em\". "),
        "{error}"
    );
}

#[test]
fn a_misspelt_prefix_is_refused() {
    let names = Names::own().ignoring("nrom");
    let error = refused(&tiny_file("tiny.pth"), tiny([2, 3]), &names);
    assert_eq!(
        error.to_string(),
        "Names::ignoring(\"nrom\") matches nothing: no tensor of the file or the network has a name there \
         that begins with it. Correct the prefix, or remove it."
    );
}

#[test]
fn odd_files_have_no_architecture() {
    let detected = |tensors: &[(&str, &[usize])]| {
        let data = vec![0u8; 4 << 20];
        let views = tensors.iter().map(|&(name, shape)| {
            let bytes = 4 * shape.iter().product::<usize>();
            (
                name,
                TensorView::new(Dtype::F32, shape.to_vec(), &data[..bytes]).unwrap(),
            )
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        Architecture::detect(&WeightsFile::from_safetensors(bytes).unwrap()).is_some()
    };
    let block: (&str, &[usize]) = ("layer1.0.conv1.weight", &[4, 4, 3, 3]);
    assert!(detected(&[
        ("conv1.weight", &[4, 3, 7, 7]),
        ("fc.weight", &[2, 4]),
        block
    ]));
    assert!(!detected(&[
        ("conv1.weight", &[4]),
        ("fc.weight", &[2, 4]),
        block
    ]));
    assert!(!detected(&[
        ("conv1.weight", &[4, 3, 7, 7]),
        ("fc.weight", &[]),
        block
    ]));
    let conv0: (&str, &[usize]) = ("features.conv0.weight", &[4, 3, 7, 7]);
    let growing: (&str, &[usize]) = (
        "features.denseblock1.denselayer1.conv2.weight",
        &[0, 4, 3, 3],
    );
    assert!(!detected(&[conv0, growing, ("classifier.weight", &[2, 4])]));
    assert!(!detected(&[("conv_0.conv_0.conv.weight", &[4])]));
    assert!(!detected(&[("segmentation_head.0.weight", &[2])]));
}

#[test]
fn a_network_that_cannot_be_built_is_not_detected() {
    let detected = |name: &str, shape: &[usize]| {
        let zeros = vec![0; 4 << 20];
        let tensors: [(&str, &[usize]); 3] = [
            ("conv1.weight", &[4, 3, 7, 7]),
            ("layer1.0.conv1.weight", &[4, 4, 3, 3]),
            ("fc.weight", &[2, 4]),
        ];
        let views = tensors.map(|(tensor, usual)| {
            let shape = if tensor == name { shape } else { usual };
            let bytes = 4 * shape.iter().product::<usize>();
            let view = TensorView::new(Dtype::F32, shape.to_vec(), &zeros[..bytes]);
            (tensor, view.unwrap())
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        let file = WeightsFile::from_safetensors(bytes).unwrap();
        // (A network that is detected is built, which panics where it cannot be.)
        Architecture::detect(&file).map(|found| match found {
            Architecture::Torchvision(config) => {
                let mut net = config.init::<4>(&Device::flex());
                let names = Names::torchvision_resnet();
                file.load_into(&mut net, &names).unwrap_err().to_string()
            }
            other => panic!("{other}"),
        })
    };
    assert!(detected("", &[]).unwrap().contains("missing: "));
    assert!(detected("fc.weight", &[10_000_000, 0]).is_none());
    assert!(detected("fc.weight", &[0, 4]).is_none());
    assert!(detected("fc.weight", &[1 << 20, 0]).is_none()); // far larger than the file
    assert!(detected("conv1.weight", &[1 << 16, 0, 7, 7]).is_none());
    assert!(detected("conv1.weight", &[1 << 13, 0, 7, 7]).is_none());
}

#[test]
fn a_file_that_inflates_to_gigabytes_is_refused() {
    let mut bytes = std::fs::read(tiny_file("tiny.pth")).unwrap();
    // The central directory says of the first tensor that it is deflated from 4 GB.
    let entry = (0..bytes.len())
        .filter(|&at| bytes[at..].starts_with(b"PK\x01\x02"))
        .find(|&at| {
            let len = usize::from(u16::from_le_bytes([bytes[at + 28], bytes[at + 29]]));
            bytes[at + 46..at + 46 + len].ends_with(b"/data/0")
        })
        .expect("torch.save writes data/0");
    bytes[entry + 10] = 8;
    bytes[entry + 24..entry + 28].copy_from_slice(&u32::to_le_bytes(4_000_000_000));
    let file = Scratch::with("inflates.pth", &bytes);
    let error = WeightsFile::open(&file.0).unwrap_err().to_string();
    let of = format!(
        "to {} bytes, and at most 67108864 bytes are read",
        bytes.len()
    );
    assert!(error.contains("compressed from 40000000"), "{error}");
    assert!(error.contains(&of), "{error}");
}

#[test]
fn the_network_is_found_in_a_checkpoint() {
    let names_in = |names: &[&str]| {
        let one = 1.0f32.to_le_bytes();
        let views = names
            .iter()
            .map(|name| (*name, TensorView::new(Dtype::F32, vec![1], &one).unwrap()));
        let bytes = safetensors::serialize(views, None).unwrap();
        let file = WeightsFile::from_safetensors(bytes).unwrap();
        file.tensors()
            .map(|(name, _)| name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names_in(&["state_dict.a", "state_dict.b", "optimizer.state.0.exp_avg"]),
        ["a", "b"]
    );
    assert_eq!(
        names_in(&["state_dict.model.a", "optimizer_states.0"]),
        ["a"]
    ); // Lightning
    assert_eq!(
        names_in(&["model.a", "optimizer.0", "lr_scheduler.0"]),
        ["a"]
    );
    assert_eq!(names_in(&["model.module._orig_mod.a"]), ["a"]);
    // MONAI's networks whose layers are under `model` themselves, alone and in a checkpoint.
    let monai = ["model.0.a", "model.1.submodule.a"];
    assert_eq!(names_in(&monai), monai);
    assert_eq!(
        names_in(&[
            "model.model.0.a",
            "model.model.1.submodule.a",
            "optimizer.0"
        ]),
        monai
    );
    assert_eq!(
        names_in(&["state_dict.model.0.a", "state_dict.model.1.submodule.a"]),
        monai
    );
    // A field of the network that happens to be called so.
    assert_eq!(names_in(&["model.a", "head.b"]), ["head.b", "model.a"]);
    assert_eq!(names_in(&["module.a", "head.b"]), ["head.b", "module.a"]);
}

#[test]
fn the_report_says_what_was_done() {
    let mut module = tiny([2, 3]);
    let path = tiny_file("tiny.pth");
    let file = WeightsFile::open(&path).unwrap();
    let report = file
        .load_into(&mut module, &Names::own().ignoring("norm"))
        .unwrap();
    assert_eq!(
        report.to_string(),
        format!(
            "{}: 1 tensors loaded, 54 numbers; none missing, none of another shape; 1 \
             num_batches_tracked ignored; as asked, 4 of the file ignored and 4 of the network kept",
            path.display()
        )
    );
}

#[test]
fn a_saved_network_is_loaded_again() {
    let saved = tiny([2, 3]);
    let file = Scratch::new("saved.safetensors");
    let names = Names::new([("conv", "backbone.0"), ("norm", "backbone.1")]);
    save(&saved, &file.0, &names).unwrap();
    let mut loaded = tiny([2, 3]);
    let opened = WeightsFile::open(&file.0).unwrap();
    assert_eq!(opened.shape("backbone.1.running_var"), Some(&[3][..]));
    opened.load_into(&mut loaded, &names).unwrap();
    assert_eq!(numbers(&loaded), numbers(&saved));
}

#[test]
fn the_statistics_of_training_are_saved() {
    use burn::tensor::Tensor;
    use burn_skip::Layer;
    let device = Device::flex().autodiff();
    let norm = NormConfig::batch().init(1, &device);
    let _ = Layer::forward(&norm, Tensor::<3>::from_floats([[[3.0, 5.0]]], &device));
    let saved = numbers(&norm);
    // 0.9 0 + 0.1 4, and 0.9 1 + 0.1 1.
    assert!(
        saved
            .iter()
            .any(|(name, v)| name == "running_mean" && (v[0] - 0.4).abs() < 1e-6)
    );
    // And what is loaded is not overwritten by what training has left.
    let mut norm = norm;
    let file = Scratch::new("statistics.safetensors");
    save(
        &NormConfig::batch().init(1, &device),
        &file.0,
        &Names::own(),
    )
    .unwrap();
    let _ = Layer::forward(&norm, Tensor::<3>::from_floats([[[3.0, 5.0]]], &device));
    let fresh = WeightsFile::open(&file.0).unwrap();
    fresh.load_into(&mut norm, &Names::own()).unwrap();
    let loaded = numbers(&norm);
    assert!(
        loaded
            .iter()
            .any(|(name, v)| name == "running_mean" && v[0] == 0.0)
    );
}

#[test]
fn another_shape_is_named_with_both() {
    let error = refused(&tiny_file("tiny.pth"), tiny([2, 4]), &Names::own());
    assert_eq!(
        error.to_string(),
        format!(
            "{} does not fit the network:
  shape: conv.weight is [3, 2, 3, 3] in the file, and conv.weight is [4, 2, 3, 3]
  shape: norm.weight is [3] in the file, and norm.weight is [4]
  shape: norm.bias is [3] in the file, and norm.bias is [4]
  shape: norm.running_mean is [3] in the file, and norm.running_mean is [4]
  shape: norm.running_var is [3] in the file, and norm.running_var is [4]
The file may be of another network: build the one that it belongs to, and use the table of its source. \
             To skip tensors that are meant to differ, such as a head for other classes, use \
             Names::ignoring. The network is unchanged.",
            tiny_file("tiny.pth").display()
        )
    );
}

#[test]
fn missing_and_unused_tensors_are_named() {
    let names = Names::new([("conv", "conv"), ("norm", "bn")]);
    let WeightsError::Mismatch { mismatches, .. } =
        refused(&tiny_file("tiny.safetensors"), tiny([2, 3]), &names)
    else {
        panic!("another error");
    };
    let missing = Mismatch::Missing {
        path: "norm.weight".into(),
        name: "bn.weight".into(),
        shape: vec![3],
    };
    let unused = Mismatch::Unused {
        name: "norm.weight".into(),
        shape: vec![3],
    };
    assert!(
        mismatches.contains(&missing) && mismatches.contains(&unused),
        "{mismatches:?}"
    );
    assert_eq!(mismatches.len(), 8);
    assert_eq!(
        missing.to_string(),
        "missing: bn.weight [3], for norm.weight"
    );
    assert_eq!(unused.to_string(), "unused: norm.weight [3]");
}

#[test]
fn a_table_without_a_name_is_refused() {
    let error = refused(
        &tiny_file("tiny.pth"),
        tiny([2, 3]),
        &Names::new([("conv", "conv")]),
    );
    assert_eq!(
        error.to_string(),
        "the table has no name of their own for norm.weight, norm.bias, norm.running_mean, \
         norm.running_var: add rows for them to Names."
    );
    let twice = Names::new([("conv", "a"), ("norm", "a")]);
    let file = Scratch::new("unnamed.safetensors");
    let error = save(&tiny([2, 3]), &file.0, &twice).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no name of their own for norm.weight"),
        "{error}"
    );
    assert!(!file.0.exists());
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let text = |path: &Path| {
        let error = refused(path, tiny([2, 3]), &Names::own());
        assert!(!error.to_string().contains('\n'), "one line: {error}");
        error.to_string()
    };
    assert!(text(Path::new("no/such/file.pth")).starts_with("no/such/file.pth cannot be read: "));
    assert!(
        text(&std::env::temp_dir())
            .contains("cannot be read: it is not a file. A whole state dict")
    );
    for (name, extension) in [("tiny.pth", "pth"), ("tiny.safetensors", "safetensors")] {
        let whole = std::fs::read(tiny_file(name)).unwrap();
        for length in [0, 4, 60, whole.len() / 2, whole.len() - 1] {
            let cut = Scratch::with(&format!("{length}.{extension}"), &whole[..length]);
            assert!(
                text(&cut.0).contains(" cannot be read: "),
                "{name} cut to {length}"
            );
        }
        let words = Scratch::with(
            &format!("words.{extension}"),
            b"these are no weights at all",
        );
        assert!(text(&words.0).contains(" cannot be read: "));
    }
    let empty = Scratch::with("empty.safetensors", b"\x02\0\0\0\0\0\0\0{}");
    assert!(text(&empty.0).contains("cannot be read: it holds no tensors. "));
}

#[test]
fn numbers_of_another_kind_are_refused_and_halves_are_taken() {
    let with = |dtype: Dtype, size: usize| {
        let shapes = [
            ("conv.weight", vec![3, 2, 3, 3]),
            ("norm.weight", vec![3]),
            ("norm.bias", vec![3]),
            ("norm.running_mean", vec![3]),
            ("norm.running_var", vec![3]),
        ];
        // 0x3C00 is one in half precision.
        let bytes = [0x00, 0x3C, 0x00, 0x3C, 0x00, 0x3C, 0x00, 0x3C][..size].repeat(54);
        let views = shapes.map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let view = TensorView::new(dtype, shape, &bytes[..count * size]);
            (name, view.unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    };
    let mut module = tiny([2, 3]);
    let halves = WeightsFile::from_safetensors(with(Dtype::F16, 2)).unwrap();
    halves.load_into(&mut module, &Names::own()).unwrap();
    assert!(
        numbers(&module)
            .iter()
            .all(|(_, values)| values.iter().all(|&v| v == 1.0))
    );
    let integers = Scratch::with("integers.safetensors", &with(Dtype::I32, 4));
    let error = refused(&integers.0, tiny([2, 3]), &Names::own());
    assert!(
        error
            .to_string()
            .contains("values: conv.weight are I32, and F32 is needed"),
        "{error}"
    );
}

#[test]
fn an_architecture_is_found_by_its_sizes() {
    let device = Device::flex();
    let encoder = ResNetEncoderConfig::new(ResNetBlock::Bottleneck, vec![1, 2])
        .with_in_channels(2)
        .with_width(4);
    let net: ResNet = ResNet::new(encoder.init(&device), 7, &device);
    let file = Scratch::new("small.safetensors");
    save(&net, &file.0, &Names::torchvision_resnet()).unwrap();
    let file = WeightsFile::open(&file.0).unwrap();
    let Some(found) = Architecture::detect(&file) else {
        panic!("it must be found");
    };
    assert_eq!(
        found.to_string(),
        "torchvision ResNet of Bottleneck blocks [1, 2], 2 channels, 7 classes"
    );
    let Architecture::Torchvision(config) = &found else {
        panic!("another architecture");
    };
    let EncoderConfig::ResNet(encoder) = &config.encoder else {
        panic!("another encoder");
    };
    assert_eq!((encoder.width, config.classes), (4, 7));
    assert!(Architecture::detect(&WeightsFile::open(tiny_file("tiny.pth")).unwrap()).is_none());
    // With other classes, all but the head.
    let mut other: ResNet = ResNet::new(encoder.init(&device), 3, &device);
    let names = found.names().ignoring("fc");
    let report = file.load_into(&mut other, &names).unwrap();
    assert_eq!(report.kept, ["head.weight", "head.bias"]);
}

/// A file of one 1x1 convolution from 3 to 2 channels.
fn first_convolution() -> WeightsFile {
    let values = [1.0_f32, 2.0, 4.0, -0.5, 0.25, 3.0];
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![2, 3, 1, 1], &bytes).unwrap();
    let bytes = safetensors::serialize([("conv.weight", view)], None).unwrap();
    WeightsFile::from_safetensors(bytes).unwrap()
}

/// What `patch_first_conv` of segmentation_models.pytorch makes of that convolution.
#[test]
fn a_first_convolution_is_adapted_as_segmentation_models_adapts_it() {
    let file = first_convolution();
    let names = || Names::own().adapting_input();
    let expected: [&[f32]; 5] = [
        &[7.0, 2.75],
        &[1.5, 3.0, -0.75, 0.375],
        &[1.0, 2.0, 4.0, -0.5, 0.25, 3.0],
        &[0.75, 1.5, 3.0, 0.75, -0.375, 0.1875, 2.25, -0.375],
        &[0.6, 1.2, 2.4, 0.6, 1.2, -0.3, 0.15, 1.8, -0.3, 0.15],
    ];
    for (channels, expected) in (1..).zip(expected) {
        let mut module: ConvNormAct = ConvNormActConfig::new([channels, 2], 1)
            .with_norm(None)
            .with_bias(false)
            .init(&Device::flex());
        let report = file.load_into(&mut module, &names()).unwrap();
        let adapted = (channels != 3).then(|| AdaptedInput {
            name: "conv.weight".into(),
            channels: [3, channels],
        });
        assert_eq!(report.adapted, adapted);
        let found = &numbers(&module)[0].1;
        assert_eq!(found.len(), expected.len());
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        assert!(
            found.iter().zip(expected).all(close),
            "{channels}: {found:?}"
        );
    }
}

#[test]
fn no_other_shape_is_adapted() {
    let mut other: ConvNormAct = ConvNormActConfig::new([4, 2], 3)
        .with_norm(None)
        .with_bias(false)
        .init(&Device::flex());
    let names = Names::own().adapting_input();
    let error = first_convolution().load_into(&mut other, &names);
    let WeightsError::Mismatch { mismatches, .. } = error.unwrap_err() else {
        panic!("the kernels differ")
    };
    assert_eq!(
        mismatches[0].to_string(),
        "shape: conv.weight is [2, 3, 1, 1] in the file, and conv.weight is [2, 4, 3, 3]"
    );
    // The second convolution of a network is none of its input.
    let convs = |input: usize| -> (ConvNormAct, ConvNormAct) {
        let conv = |channels| ConvNormActConfig::new(channels, 1).init(&Device::flex());
        (conv([3, 4]), conv([input, 2]))
    };
    let file = Scratch::new("two.safetensors");
    save(&convs(4), &file.0, &Names::own()).unwrap();
    refused(&file.0, convs(5), &Names::own().adapting_input());
}

fn small_resnet(depths: Vec<usize>) -> ResNetEncoderConfig {
    ResNetEncoderConfig::new(ResNetBlock::Basic, depths).with_width(4)
}

/// The file of a classifier on `encoder`, and its numbers under the paths of a segmentation model.
fn classifier_file(encoder: EncoderConfig) -> (WeightsFile, Vec<(String, Vec<f32>)>) {
    let config = ClassifierConfig::new(encoder, 5);
    let net = config.init::<4>(&Device::flex());
    let file = Scratch::new(&format!("{:?}-c.safetensors", std::thread::current().id()));
    save(&net, &file.0, &Names::torchvision(&config).unwrap()).unwrap();
    let bytes = std::fs::read(&file.0).unwrap();
    (WeightsFile::from_safetensors(bytes).unwrap(), numbers(&net))
}

/// The encoder's numbers are those given, and the others are as before.
fn assert_only_the_encoder_is_loaded(
    net: &AnySegmentationModel,
    before: &[(String, Vec<f32>)],
    given: &[(String, Vec<f32>)],
) {
    for ((name, now), (_, before)) in numbers(net).into_iter().zip(before) {
        match given.iter().find(|(given, _)| *given == name) {
            Some((_, given)) if name.starts_with("encoder.") => assert_eq!(now, *given, "{name}"),
            _ => {
                assert!(!name.starts_with("encoder."), "{name} is not in the file");
                assert_eq!(now, *before, "{name}");
            }
        }
    }
}

fn unet(encoder: EncoderConfig) -> AnySegmentationModel {
    SegmentationConfig::smp_unet(encoder, 2).init(&Device::flex())
}

#[test]
fn the_encoder_of_a_classifier_is_loaded() {
    let stages = || {
        vec![
            InvertedStage::new(1, 8, 1, 1),
            InvertedStage::new(2, 8, 2, 2),
        ]
    };
    for encoder in [
        EncoderConfig::ResNet(small_resnet(vec![1, 2])),
        EncoderConfig::MobileNetV2(MobileNetV2EncoderConfig::new().with_stages(stages())),
        EncoderConfig::EfficientNet(EfficientNetEncoderConfig::b0().with_stages(stages())),
    ] {
        let (file, given) = classifier_file(encoder.clone());
        let mut net = unet(encoder);
        let before = numbers(&net);
        let report = net.load_encoder(&file).unwrap();
        assert_only_the_encoder_is_loaded(&net, &before, &given);
        assert!(report.kept.is_empty() && report.adapted.is_none());
        assert!(
            report
                .loaded
                .iter()
                .all(|(_, path)| path.starts_with("encoder."))
        );
        assert_eq!(report.ignored.len(), 2, "{:?}", report.ignored); // the head
    }
}

#[test]
fn the_encoder_of_a_segmentation_network_is_loaded() {
    let encoder = EncoderConfig::EfficientNet(
        EfficientNetEncoderConfig::b0()
            .with_width_multiplier(0.25)
            .with_last_channels(None),
    );
    let config = SegmentationConfig::smp_fpn(encoder.clone(), 3);
    let net = config.init::<4>(&Device::flex());
    let path = Scratch::new("fpn.safetensors");
    save(&net, &path.0, &Names::smp(&config).unwrap()).unwrap();
    let mut other = unet(encoder);
    let before = numbers(&other);
    let file = WeightsFile::open(&path.0).unwrap();
    let Report { ignored, .. } = other.load_encoder(&file).unwrap();
    assert_only_the_encoder_is_loaded(&other, &before, &numbers(&net));
    assert!(ignored.iter().all(|name| !name.starts_with("encoder.")));
}

#[test]
fn the_center_of_a_vgg_is_loaded_from_a_unet_alone() {
    let vgg = || VggEncoderConfig::new(vec![4, 8], vec![1, 1]).with_full_size_map(false);
    let with_center = || EncoderConfig::Vgg(vgg().with_center(ConvStyle::new()));
    let center = "encoder.center.first.conv.weight";
    for (config, has_center) in [
        (SegmentationConfig::smp_unet(with_center(), 2), true),
        (
            SegmentationConfig::smp_linknet(EncoderConfig::Vgg(vgg()), 2),
            false,
        ),
    ] {
        let net = config.init::<4>(&Device::flex());
        let path = Scratch::new(&format!("vgg-{has_center}.safetensors"));
        save(&net, &path.0, &Names::smp(&config).unwrap()).unwrap();
        let mut other = unet(with_center());
        let before = numbers(&other);
        let file = WeightsFile::open(&path.0).unwrap();
        let report = other.load_encoder(&file).unwrap();
        assert_eq!(report.kept.contains(&center.to_string()), !has_center);
        let given = numbers(&net);
        for ((name, now), (_, before)) in numbers(&other).into_iter().zip(before) {
            match given.iter().find(|(given, _)| *given == name) {
                Some((_, given)) if name.starts_with("encoder.") => assert_eq!(now, *given),
                _ => assert_eq!(now, before, "{name}"),
            }
        }
    }
}

#[test]
fn a_shallower_encoder_is_loaded_and_other_blocks_are_refused() {
    let (file, given) = classifier_file(EncoderConfig::ResNet(small_resnet(vec![2, 2, 1])));
    let mut shallow = unet(EncoderConfig::ResNet(small_resnet(vec![2, 2])));
    let before = numbers(&shallow);
    let report = shallow.load_encoder(&file).unwrap();
    assert_only_the_encoder_is_loaded(&shallow, &before, &given);
    assert!(
        report
            .ignored
            .contains(&"layer3.0.conv1.weight".to_string())
    );

    let text = |encoder: EncoderConfig| {
        let mut net = unet(encoder);
        let before = numbers(&net);
        let error = net.load_encoder(&file).unwrap_err();
        assert_eq!(numbers(&net), before, "the network has changed");
        error.to_string()
    };
    // The file has a second block in the second stage.
    let fewer = text(EncoderConfig::ResNet(small_resnet(vec![2, 1])));
    assert!(fewer.contains("unused: layer2.1.conv1.weight"), "{fewer}");
    let wider = text(EncoderConfig::ResNet(
        small_resnet(vec![2, 2]).with_width(8),
    ));
    assert!(
        wider.contains("shape: conv1.weight is [4, 3, 7, 7]"),
        "{wider}"
    );
    let other = text(EncoderConfig::Plain(PlainEncoderConfig::new(3, vec![4, 8])));
    assert!(other.contains("the table has no name"), "{other}");
}
