/* Two processes send 64 bytes to and fro over a pair of pipes; see bare.py.

   pingpong COUNT prints the nanoseconds of each round trip, one a line; the first ones, while
   the other process gets under way, are not counted. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

static const long WARM_UP = 100;

int main(int argc, char **argv) {
    int there[2], back[2];
    char data[64] = {0};
    long count = argc > 1 ? atol(argv[1]) : 0;
    if (pipe(there) || pipe(back)) return 1;
    pid_t child = fork(); /* nothing is buffered by stdio yet */
    if (child < 0) return 1;
    if (child == 0) {
        close(there[1]);
        close(back[0]);
        while (read(there[0], data, sizeof data) == sizeof data)
            if (write(back[1], data, sizeof data) != sizeof data) _exit(1);
        _exit(0);
    }
    for (long i = 0; i < WARM_UP + count; i++) {
        long before = now();
        if (write(there[1], data, sizeof data) != sizeof data) return 1;
        if (read(back[0], data, sizeof data) != sizeof data) return 1;
        if (i >= WARM_UP) printf("%ld\n", now() - before);
    }
    close(there[1]);
    waitpid(child, NULL, 0);
    return 0;
}
