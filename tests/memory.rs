//! The memory of a plan, against what the allocator is asked for on flex.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use burn::tensor::{Device, Tensor};
use burn_skip::Layer;
use burn_skip::net::{
    ClassifierConfig, DenseNetEncoderConfig, EncoderConfig, NetConfig, ResNetEncoderConfig, Unet,
    UnetConfig,
};
use burn_skip::plan::Memory;
use burn_skip::up::UpConfig;

/// The system's allocator, which counts what is in use.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    let now = NOW.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(now, Relaxed);
}

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that is held at once while `step` runs, more than there was before `build`. (It runs once before: the
/// weights are made then, and what is made of them.)
fn peak_of(build: impl FnOnce() -> Box<dyn Fn()>) -> u64 {
    let before = NOW.load(Relaxed);
    let step = build();
    step();
    PEAK.store(NOW.load(Relaxed), Relaxed);
    step();
    (PEAK.load(Relaxed) - before) as u64
}

struct Case {
    name: &'static str,
    net: NetConfig,
    input: [usize; 4],
}

/// What a training step begins with.
type Forward = Box<dyn Fn(Tensor<4>) -> Tensor<1>>;

impl Case {
    fn build(&self, device: &Device) -> Forward {
        match &self.net {
            NetConfig::Unet(config) => {
                let net: Unet = config.init(device);
                Box::new(move |x| net.forward(x).mean())
            }
            NetConfig::Classifier(config) => {
                let net = config.init::<4>(device);
                Box::new(move |x| net.forward(x).mean())
            }
        }
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn main() {
    let mut failed = false;
    let cases = cases();
    if let Some(first) = cases.first() {
        // The threads take their own memory once.
        let device = Device::flex().autodiff();
        let before = NOW.load(Relaxed);
        let x = Tensor::zeros(first.input, &device);
        drop(first.build(&device)(x).backward());
        println!(
            "before: {:.1} MiB; the threads' own: {:.1} MiB",
            mib(before as u64),
            mib((NOW.load(Relaxed) - before) as u64)
        );
    }
    for case in cases {
        let plan = case.net.plan(&case.input).expect("an input of four axes");
        let Memory {
            inference,
            training,
            kept,
            weights,
        } = plan.memory;
        let device = Device::flex();
        let measured_inference = peak_of(|| {
            let x = Tensor::zeros(case.input, &device);
            let net = case.build(&device);
            Box::new(move || drop(net(x.clone())))
        });
        let device = device.autodiff();
        let measured_training = peak_of(|| {
            let x = Tensor::zeros(case.input, &device);
            let net = case.build(&device);
            Box::new(move || drop(net(x.clone()).backward()))
        });
        for (what, planned, measured) in [
            ("inference", inference, measured_inference),
            ("training", training, measured_training),
        ] {
            let off = planned as f64 / measured as f64 - 1.0;
            println!(
                "{:24} {what:10} planned {:7.1} MiB, measured {:7.1} MiB: {:+.1} % (weights {:.1}, kept {:.1})",
                case.name,
                mib(planned),
                mib(measured),
                100.0 * off,
                mib(weights),
                mib(kept)
            );
            failed |= off.abs() > 0.1;
        }
    }
    println!(
        "{} passed, {} failed",
        usize::from(!failed),
        usize::from(failed)
    );
    assert!(!failed, "a plan is off by more than a tenth");
}

fn cases() -> Vec<Case> {
    let unet = |config| NetConfig::Unet(config);
    let classifier = |encoder| NetConfig::Classifier(ClassifierConfig::new(encoder, 1000));
    let resnet18 = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
    let resnet50 = EncoderConfig::ResNet(ResNetEncoderConfig::resnet50());
    let densenet = EncoderConfig::DenseNet(DenseNetEncoderConfig::densenet121());
    let linear = UnetConfig::new(1, 1, vec![16, 32, 64]).with_up(UpConfig::linear());
    let of_batch = |batch| {
        [
            (
                "U-Net",
                unet(UnetConfig::new(3, 2, vec![32, 64, 128, 256])),
                [batch, 3, 256, 256],
            ),
            (
                "U-Net, bilinear",
                unet(linear.clone()),
                [4 * batch, 1, 192, 160],
            ),
            (
                "U-Net on ResNet-18",
                unet(UnetConfig::smp(resnet18.clone(), 1)),
                [batch, 3, 256, 256],
            ),
            (
                "ResNet-18",
                classifier(resnet18.clone()),
                [2 * batch, 3, 224, 224],
            ),
            (
                "ResNet-50",
                classifier(resnet50.clone()),
                [2 * batch, 3, 224, 224],
            ),
            (
                "DenseNet-121",
                classifier(densenet.clone()),
                [2 * batch, 3, 224, 224],
            ),
        ]
    };
    let cases = [1, 2].into_iter().flat_map(of_batch);
    cases
        .map(|(name, net, input)| Case { name, net, input })
        .collect()
}
