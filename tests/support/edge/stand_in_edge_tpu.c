/* A stand-in for libedgetpu.so.1: a delegate that takes over the operators which the Edge TPU compiler leaves
   (edgetpu-custom-op), as Coral's does, and gives twice their input. Environment variable STAND_IN_DEVICE=none makes
   it refuse as Coral's does without a device. The structures are those of common.h of LiteRT as far as they are read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int size; int data[]; } IntArray;
typedef struct { int type; void* data; IntArray* dims; float scale; int32_t zero_point; int allocation; size_t bytes;
                 const void* owner; const char* name; void* delegate; int handle; char stale, variable; int quantization;
                 void* parameters; void* sparsity; IntArray* signature; } Tensor;
typedef struct { IntArray *inputs, *outputs; } Node;
typedef struct Context Context;
typedef struct {
  void* (*init)(Context*, const char*, size_t);
  void (*free)(Context*, void*);
  int (*prepare)(Context*, Node*);
  int (*invoke)(Context*, Node*);
  const char* (*profiling)(const Context*, const Node*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void *external, *asynchronous;
  uint64_t inplace;
} Registration;
typedef struct Delegate {
  void* data;
  int (*prepare)(Context*, struct Delegate*);
  void *from, *to, *free_handle;
  int64_t flags;
  void* builder;
} Delegate;
struct Context {
  size_t count;
  int (*plan)(Context*, IntArray**);
  Tensor* tensors;
  void *impl, *resize, *report, *add;
  int (*node)(Context*, int, Node**, Registration**);
  int (*replace)(Context*, Registration, const IntArray*, Delegate*);
};

static int invoke(Context* context, Node* node) {
  Tensor *from = &context->tensors[node->inputs->data[0]], *to = &context->tensors[node->outputs->data[0]];
  if (from->bytes != to->bytes) return 1;
  for (size_t i = 0; i < from->bytes / sizeof(float); ++i) ((float*)to->data)[i] = 2 * ((float*)from->data)[i];
  return 0;
}

static int prepare(Context* context, Delegate* delegate) {
  IntArray* plan;
  if (context->plan(context, &plan) != 0) return 1;
  IntArray* taken = calloc(1, sizeof(IntArray) + plan->size * sizeof(int));
  for (int i = 0; i < plan->size; ++i) {
    Node* node;
    Registration* registration;
    if (context->node(context, plan->data[i], &node, &registration) != 0) return 1;
    const char* name = registration->custom_name;
    if (name != NULL && strcmp(name, "edgetpu-custom-op") == 0) taken->data[taken->size++] = plan->data[i];
  }
  Registration kernel = {.invoke = invoke, .custom_name = "StandIn", .version = 1};
  int status = taken->size ? context->replace(context, kernel, taken, delegate) : 0;
  free(taken);
  return status;
}

void* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*report)(const char*)) {
  (void)keys, (void)values, (void)count;
  const char* device = getenv("STAND_IN_DEVICE");
  if (device != NULL && strcmp(device, "none") == 0) {
    report("Failed to load delegate");
    return NULL;
  }
  Delegate* made = calloc(1, sizeof(Delegate));
  made->prepare = prepare;
  made->flags = 1; /* kTfLiteDelegateFlagsAllowDynamicTensors: it is asked before every operator has a kernel. */
  return made;
}

void tflite_plugin_destroy_delegate(void* delegate) { free(delegate); }
