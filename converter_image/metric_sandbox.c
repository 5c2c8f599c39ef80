/* Runs a user's metric once for each file of outputs, without network, and notes how each run ended.
 *
 *   metric-sandbox FILTER DATA RESULTS MESSAGE SECONDS PROGRAM [ARGUMENT...]
 *
 * It is the first process of a container with a foreign image, so it is linked statically and needs nothing of that
 * image. FILTER is a seccomp program (conversion_engine/sandbox.py), which every run gives itself before the metric's
 * PROGRAM begins: no sockets, so no network, whatever the pod can reach. Where the kernel refuses it, nothing is run.
 *
 * DATA has outputs/NAME.npz and perhaps labels.npz. Each run finds its paths in the environment (METRIC_OUTPUTS,
 * METRIC_ORIGINAL, METRIC_LABELS, METRIC_RESULT), and writes RESULTS/NAME.json. Beside it stands RESULTS/NAME.exit:
 * "exited CODE", "signal NUMBER", "timeout SECONDS" or "noexec ERRNO". What goes wrong with the sandbox itself is
 * written to MESSAGE as a stage's failure, with the exit code of MetricFailed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { METRIC_FAILED = 57, TERMINATED = 143, MOST_FILES = 64, MOST_INSTRUCTIONS = 4096, LONGEST = 4096 };
static const rlim_t LARGEST_FILE = 256 << 20;
static const char ORIGINAL[] = "original.npz", SUFFIX[] = ".npz";

static const char *message_path;
static struct sock_filter instructions[MOST_INSTRUCTIONS];
static struct sock_fprog filter = {0, instructions};

/* `words` have no character that JSON escapes. */
static void give_up(const char *words, int error) {
    fprintf(stderr, "metric-sandbox: %s: %s\n", words, strerror(error));
    FILE *file = fopen(message_path, "w");
    if (file != NULL) {
        fprintf(file, "{\"version\":\"v1alpha1\",\"failure\":{\"stage\":\"Evaluate\",\"reason\":\"MetricFailed\","
                "\"message\":\"%s: %s\"}}", words, strerror(error));
        fclose(file);
    }
    exit(METRIC_FAILED);
}

static void read_filter(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL)
        give_up("the sandbox's filter cannot be read", errno);
    size_t count = fread(instructions, sizeof instructions[0], MOST_INSTRUCTIONS, file);
    fclose(file);
    if (count == 0 || count == MOST_INSTRUCTIONS)
        give_up("there is no filter for this processor", ENOSYS);
    filter.len = (unsigned short)count;
}

/* Writes a path into `into`, which holds LONGEST characters. */
__attribute__((format(printf, 2, 3))) static void write_path(char *into, const char *format, ...) {
    va_list given;
    va_start(given, format);
    int length = vsnprintf(into, LONGEST, format, given);
    va_end(given);
    if (length < 0 || length >= LONGEST)
        give_up("a path is too long", ENAMETOOLONG);
}

static int by_name(const void *one, const void *other) {
    const char *a = *(char *const *)one, *b = *(char *const *)other;
    int first = strcmp(b, ORIGINAL) == 0, second = strcmp(a, ORIGINAL) == 0;
    return first != second ? first - second : strcmp(a, b);
}

/* Returns how many names of files there are in `folder`, that of the original first. */
static int files_of(const char *folder, char **names) {
    DIR *found = opendir(folder);
    if (found == NULL)
        give_up("the outputs cannot be read", errno);
    int count = 0;
    for (struct dirent *entry; count < MOST_FILES && (entry = readdir(found)) != NULL;) {
        size_t length = strlen(entry->d_name), end = strlen(SUFFIX);
        if (length > end && strcmp(entry->d_name + length - end, SUFFIX) == 0)
            names[count++] = strdup(entry->d_name);
    }
    closedir(found);
    qsort(names, (size_t)count, sizeof names[0], by_name);
    return count;
}

/* The environment of the image, without what the cluster says of itself. */
static void clear_environment(void) {
    static const char cluster[] = "KUBERNETES_";
    for (char **variable = environ; *variable != NULL;) {
        char name[LONGEST];
        size_t length = strcspn(*variable, "=");
        if (strncmp(*variable, cluster, strlen(cluster)) == 0 && length < sizeof name) {
            memcpy(name, *variable, length);
            name[length] = '\0';
            unsetenv(name);
            variable = environ;
        } else {
            variable++;
        }
    }
}

/* Nothing but the standard streams is for the metric. */
static void close_the_rest(void) {
    if (syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */) == 0)
        return;
    long most = sysconf(_SC_OPEN_MAX); /* a kernel before 5.11 */
    for (int file = 3; file < most && file < 1 << 16; file++)
        fcntl(file, F_SETFD, FD_CLOEXEC);
}

/* In the child: gives up the network and becomes the metric's program; tells `report` where that fails. */
static void become(char **command, int report) {
    sigset_t none;
    struct rlimit no_core = {0, 0}, file_size = {LARGEST_FILE, LARGEST_FILE};
    char failed[2] = {'S', 0};
    sigemptyset(&none);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close_the_rest();
    if (setpgid(0, 0) == 0 && sigprocmask(SIG_SETMASK, &none, NULL) == 0 && setrlimit(RLIMIT_CORE, &no_core) == 0 &&
        setrlimit(RLIMIT_FSIZE, &file_size) == 0 &&
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0) {
        execve(command[0], command, environ);
        failed[0] = 'E';
    }
    failed[1] = (char)errno;
    if (write(report, failed, sizeof failed) < 0)
        _exit(126);
    _exit(127);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Waits for `child` until `deadline`. Returns whether it has ended; its group is gone in any case. */
static int ended_in_time(pid_t child, double deadline, int *status) {
    sigset_t awaited;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    sigaddset(&awaited, SIGTERM);
    int has_ended = 0;
    while (!(has_ended = waitpid(child, status, WNOHANG) == child)) {
        double left = deadline - now();
        if (left <= 0)
            break;
        struct timespec wait = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
        if (sigtimedwait(&awaited, NULL, &wait) == SIGTERM) {
            kill(-child, SIGKILL);
            exit(TERMINATED);
        }
    }
    /* The filter lets nothing leave the group. */
    kill(-child, SIGKILL);
    if (!has_ended)
        waitpid(child, status, 0);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    return has_ended;
}

static void note(const char *path, const char *how, int number) {
    /* The metric may have left anything there. */
    unlink(path);
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (file < 0)
        return; /* whoever reads the results misses it */
    dprintf(file, "%s %d\n", how, number);
    close(file);
}

static void run(char **command, const char *path, int seconds) {
    int report[2], status = 0;
    if (pipe2(report, O_CLOEXEC) != 0)
        give_up("a run cannot be started", errno);
    pid_t child = fork();
    if (child < 0)
        give_up("a run cannot be started", errno);
    if (child == 0)
        become(command, report[1]);
    setpgid(child, child); /* as the child does, whichever is first */
    close(report[1]);
    int in_time = ended_in_time(child, now() + seconds, &status);
    char failed[2];
    ssize_t told = read(report[0], failed, sizeof failed);
    close(report[0]);
    if (told == sizeof failed && failed[0] == 'S')
        give_up("the kernel does not let the metric's network be taken away, so it was not run", failed[1]);
    if (told == sizeof failed)
        note(path, "noexec", failed[1]);
    else if (!in_time)
        note(path, "timeout", seconds);
    else if (WIFSIGNALED(status))
        note(path, "signal", WTERMSIG(status));
    else
        note(path, "exited", WEXITSTATUS(status));
}

int main(int count, char **given) {
    if (count < 7)
        return 2;
    const char *data = given[2], *results = given[3];
    char outputs[LONGEST], path[LONGEST], *names[MOST_FILES];
    message_path = given[4];
    int seconds = atoi(given[5]);
    /* Or the metric, which has the same user, could write to this process's memory, which has no filter. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        give_up("the sandbox cannot hide itself", errno);
    sigset_t awaited;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    sigaddset(&awaited, SIGTERM);
    sigprocmask(SIG_BLOCK, &awaited, NULL);
    read_filter(given[1]);
    clear_environment();
    write_path(outputs, "%s/outputs", data);
    int files = files_of(outputs, names);
    write_path(path, "%s/labels.npz", data);
    if (access(path, R_OK) == 0)
        setenv("METRIC_LABELS", path, 1);
    else
        unsetenv("METRIC_LABELS");
    write_path(path, "%s/%s", outputs, ORIGINAL);
    setenv("METRIC_ORIGINAL", path, 1);
    for (int at = 0; at < files; at++) {
        int stem = (int)(strlen(names[at]) - strlen(SUFFIX));
        printf("metric-sandbox: %.*s\n", stem, names[at]);
        fflush(stdout);
        write_path(path, "%s/%s", outputs, names[at]);
        setenv("METRIC_OUTPUTS", path, 1);
        write_path(path, "%s/%.*s.json", results, stem, names[at]);
        setenv("METRIC_RESULT", path, 1);
        write_path(path, "%s/%.*s.exit", results, stem, names[at]);
        run(given + 6, path, seconds);
    }
    return 0;
}
