//! Passes on what nginx was configured with, and how the module is linked.

fn main() {
    // The macros of `ngx` expand to code that asks for these.
    forward("DEP_NGINX_FEATURES_CHECK", |values| {
        println!("cargo::rustc-check-cfg=cfg(ngx_feature, values({values}))");
    });
    forward("DEP_NGINX_FEATURES", |features| {
        for feature in features.split(',').map(str::trim) {
            println!("cargo::rustc-cfg=ngx_feature=\"{feature}\"");
        }
    });
    forward("DEP_NGINX_OS_CHECK", |values| {
        println!("cargo::rustc-check-cfg=cfg(ngx_os, values({values}))");
    });
    forward("DEP_NGINX_OS", |os| println!("cargo::rustc-cfg=ngx_os=\"{os}\""));

    // nginx unloads modules when a configuration is dropped; code of ours may
    // still be needed then by thread-local destructors.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}

fn forward(variable: &str, then: impl FnOnce(&str)) {
    println!("cargo::rerun-if-env-changed={variable}");
    if let Ok(value) = std::env::var(variable) {
        then(&value);
    }
}
