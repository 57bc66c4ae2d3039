/* Time, memory and fatal errors. */

#define _GNU_SOURCE
#include "loader_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void die(const char *what, const char *which) {
    fprintf(stderr, "loader: %s: %s\n", what, which);
    exit(2);
}

void *resize(void *memory, size_t size) {
    memory = realloc(memory, size);
    if (!memory) die("no memory", "realloc");
    return memory;
}
