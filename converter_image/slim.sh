#!/bin/sh
# Removes from site-packages what conversion, measurement and signing never load: half of what pip installs.
# What may go was found by tracing every file that the stages open, for Keras files and SavedModels; the
# converter's tests pass on what is left.
#
#   sh slim.sh SITE_PACKAGES
set -eu
cd "$1"

# For compiling C++ against TensorFlow, and for parsing C++ with Clang.
rm -rf tensorflow/include clang tensorflow/xla_aot_runtime_src
# For programs that make StableHLO themselves; TensorFlow's own converter has it built in.
rm -rf tensorflow/compiler/mlir/stablehlo
# For TensorFlow's profiler of distributed training.
rm -rf grpc
# For compiling for accelerators that no container here has.
rm -rf ai_edge_litert/tools/apply_plugin_main ai_edge_litert/vendors
# Of the many services of AWS, what S3 needs: itself, and what gives credentials for it.
for service in botocore/data/*/; do
    case $service in
        botocore/data/s3/ | botocore/data/sts/ | botocore/data/sso/ | botocore/data/sso-oidc/ | botocore/data/signin/) ;;
        *) rm -rf "$service" ;;
    esac
done
# Tests of the packages themselves, and what only compilers read.
find . -type d -name tests -prune -exec rm -rf {} +
find . \( -path './keras/*' -o -path './tf_keras/*' \) -type f -name '*_test.py' -delete
find . -type f \( -name '*.a' -o -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.h' \
    -o -name '*.hpp' \) -delete
# Names of functions that nothing looks up: a third of TensorFlow's library. Libraries that were moved into their
# wheels by auditwheel (*.libs) must not be touched: strip breaks them.
find . \( -path './tensorflow/*' -o -path './ai_edge_litert/*' \) -type f -name '*.so*' \
    -exec strip --strip-unneeded {} +
