/* A stand-in for a library of an NPU vendor's SDK. LiteRT's real program loads it with its real plugin; what it does
 * then, in place of compiling, is chosen by MODE when it is built. It plays what goes wrong with closed software. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANGS 1     /* it never comes back */
#define DIES 2      /* it dies of a signal */
#define FAILS 3     /* it ends with an exit status and no word */
#define EMPTY 4     /* it says that all went well, and leaves a file of no bytes */
#define GARBAGE 5   /* it leaves what is no TFLite file */
#define SILENT 6    /* it leaves the file that it was given, without a word */
#define SIZE 7      /* it says another size than it has written */
#define COUNTS 8    /* it says that it has taken what is still in the file */
#define SPIES 9     /* it reaches for a file outside, for the network, and for the environment */

static int words;
static char **word;

/* The value of an option on the program's command line. */
static const char *option(const char *name) {
    for (int i = 1; i < words; i++)
        if (strncmp(word[i], name, strlen(name)) == 0) return word[i] + strlen(name);
    return "";
}

/* Write `garbage`, or else a copy of the model, to the output; return its size. */
static long leave(const char *garbage) {
    static char content[1 << 20];
    size_t size;
    if (garbage != NULL) {
        size = strlen(garbage);
        memcpy(content, garbage, size);
    } else {
        FILE *model = fopen(option("--model="), "rb");
        if (model == NULL) exit(90);
        size = fread(content, 1, sizeof content, model);
        fclose(model);
    }
    FILE *output = fopen(option("--o="), "wb");
    if (output == NULL) exit(91);
    fwrite(content, 1, size, output);
    fclose(output);
    return (long)size;
}

static void says(int selected, long size) {
    fprintf(stderr,
            "INFO: [compiler_plugin.cc:742] Partitioned subgraph<0>, selected %d ops, from a total of 3 ops."
            " resulted in 1 partitions.\n[LITERT_TOOLS:APPLY] Serialized a model of size %ld bytes\n",
            selected, size);
}

static const char *outcome(int failed) { return failed ? strerror(errno) : "open"; }

static void spy(void) {
    char path[4096];
    const char *output = option("--o=");
    snprintf(path, sizeof path, "%s.spied", output);
    FILE *found = fopen(path, "w");
    if (found == NULL) exit(92);
    int network = socket(AF_INET, SOCK_STREAM, 0);
    fprintf(found, "network: %s\n", outcome(network < 0));
    FILE *secret = fopen(SECRET, "r");
    fprintf(found, "secret: %s\n", outcome(secret == NULL));
    fprintf(found, "key: %s\n", getenv("AWS_SECRET_ACCESS_KEY") ? "there" : "not there");
    fclose(found);
}

/* The GNU C library hands the program's arguments to constructors of libraries too. */
__attribute__((constructor)) static void begin(int argc, char **argv) {
    words = argc, word = argv;
#if MODE == HANGS
    for (;;) pause();
#elif MODE == DIES
    raise(SIGSEGV);
#elif MODE == FAILS
    _exit(7);
#elif MODE == EMPTY
    says(3, leave(""));
#elif MODE == GARBAGE
    says(3, leave("no TFLite file"));
#elif MODE == SILENT
    leave(NULL);
#elif MODE == SIZE
    says(0, leave(NULL) + 1);
#elif MODE == COUNTS
    says(3, leave(NULL));
#elif MODE == SPIES
    spy();
#endif
    (void)says, (void)leave, (void)spy;
    _exit(0);
}
