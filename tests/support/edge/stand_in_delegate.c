/* A stand-in for a delegate such as libedgetpu.so.1: it is loaded, told its options and asked to prepare as a real
   one is, and takes over no operator, so that LiteRT runs them all. The option "log" names a file in which it notes
   what it was told; "refuse" makes it fail as one does that finds no device. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The beginning of TfLiteDelegate, as c_api_types and common.h of LiteRT have it. */
typedef struct Delegate {
  void* data;
  int (*prepare)(void* context, struct Delegate* delegate);
  void* copy_from_buffer_handle;
  void* copy_to_buffer_handle;
  void* free_buffer_handle;
  int64_t flags;
  void* opaque_delegate_builder;
} Delegate;

static int prepare(void* context, Delegate* delegate) {
  (void)context;
  return delegate->data != NULL;
}

void* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*report)(const char*)) {
  Delegate* made = calloc(1, sizeof(Delegate));
  for (size_t i = 0; i < count; ++i) {
    if (strcmp(keys[i], "refuse") == 0) {
      report("no device");
      free(made);
      return NULL;
    }
    if (strcmp(keys[i], "fail") == 0) made->data = made;
    if (strcmp(keys[i], "log") == 0) {
      FILE* log = fopen(values[i], "a");
      for (size_t k = 0; k < count; ++k) fprintf(log, "%s=%s\n", keys[k], values[k]);
      fclose(log);
    }
  }
  made->prepare = prepare;
  return made;
}

void tflite_plugin_destroy_delegate(void* delegate) { free(delegate); }
