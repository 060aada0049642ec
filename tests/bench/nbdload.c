/*
 * A load that costs its machine little, so that the server's share shows: random reads on several connections, each with so many in flight;
 * what has come is answered with as many new requests in one send. Simple replies, Unix socket, default export.
 *
 *   nbdload SOCKET CONNECTIONS DEPTH SIZE SECONDS        prints "OPERATIONS SECONDS"; exit 1 with a sentence when anything is wrong
 */
#define _GNU_SOURCE
#include <endian.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 28, REPLY = 16, ROOM = 1 << 20 };

static const char *socket_path;
static int depth, size;
static double seconds;
static uint64_t blocks;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void send_all(int fd, const void *data, size_t length)
{
    for (const char *at = data; length > 0;) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);
        if (sent <= 0) {
            fail("nbdload: send");
        }

        at += sent;
        length -= (size_t)sent;
    }
}

static void receive_all(int fd, void *data, size_t length)
{
    for (char *at = data; length > 0;) {
        ssize_t got = recv(fd, at, length, 0);
        if (got <= 0) {
            fail("nbdload: the server has closed the connection");
        }

        at += got;
        length -= (size_t)got;
    }
}

/* Connects and negotiates by EXPORT_NAME, whose reply is the size and the flags. */
static int connect_to_server(uint64_t *disk)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct __attribute__((packed)) { uint64_t magic, option; uint16_t flags; } greeting;
    struct __attribute__((packed)) { uint32_t flags; uint64_t magic; uint32_t option, length; } hello = { htobe32(3), htobe64(0x49484156454f5054), htobe32(1), 0 };
    struct __attribute__((packed)) { uint64_t size; uint16_t flags; } export;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(address.sun_path, socket_path, sizeof address.sun_path - 1);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        fail("nbdload: connect");
    }

    receive_all(fd, &greeting, sizeof greeting);
    send_all(fd, &hello, sizeof hello);
    receive_all(fd, &export, sizeof export);
    *disk = be64toh(export.size);
    return fd;
}

static char *put_request(char *to, uint64_t *state, uint64_t cookie)
{
    struct __attribute__((packed)) { uint32_t magic; uint16_t flags, type; uint64_t cookie, offset; uint32_t length; } request;
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    request.magic = htobe32(0x25609513);
    request.flags = request.type = 0;
    request.cookie = cookie;
    request.offset = htobe64((*state >> 20) % blocks * (uint64_t)size);
    request.length = htobe32((uint32_t)size);
    memcpy(to, &request, HEADER);
    return to + HEADER;
}

static void *load(void *argument)
{
    uint64_t disk, state = (uint64_t)(uintptr_t)argument, done = 0;
    int fd = connect_to_server(&disk);
    char *requests = malloc((size_t)depth * HEADER), *replies = malloc(ROOM + REPLY + (size_t)size), *end = requests;
    size_t have = 0;
    if (requests == NULL || replies == NULL) {
        fail("nbdload: memory");
    }

    for (int i = 0; i < depth; i++) {
        end = put_request(end, &state, (uint64_t)i);
    }

    double stop = now() + seconds;
    int in_flight = depth, is_over = 0;
    send_all(fd, requests, (size_t)(end - requests));
    while (in_flight > 0) {
        ssize_t got = recv(fd, replies + have, ROOM + REPLY + (size_t)size - have, 0);
        if (got <= 0) {
            fail("nbdload: the server has closed the connection");
        }

        have += (size_t)got;
        size_t at = 0;
        end = requests;
        is_over = is_over || now() >= stop;
        for (; have - at >= REPLY + (size_t)size; at += REPLY + (size_t)size) {
            uint32_t magic, error;
            uint64_t cookie;
            memcpy(&magic, replies + at, 4);
            memcpy(&error, replies + at + 4, 4);
            memcpy(&cookie, replies + at + 8, 8);
            if (magic != htobe32(0x67446698) || error != 0) {
                fprintf(stderr, "nbdload: a read failed with error %u\n", be32toh(error));
                exit(1);
            }

            done++;
            if (is_over) {
                in_flight--;
            } else {
                end = put_request(end, &state, cookie);
            }
        }

        memmove(replies, replies + at, have - at);
        have -= at;
        if (end > requests) {
            send_all(fd, requests, (size_t)(end - requests));
        }
    }

    close(fd);
    free(requests);
    free(replies);
    return (void *)(uintptr_t)done;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "nbdload SOCKET CONNECTIONS DEPTH SIZE SECONDS\n");
        return 2;
    }

    socket_path = argv[1];
    int connections = atoi(argv[2]);
    depth = atoi(argv[3]);
    size = atoi(argv[4]);
    seconds = atof(argv[5]);
    pthread_t threads[64];
    if (connections < 1 || connections > 64 || depth < 1 || size < 1 || seconds <= 0) {
        fprintf(stderr, "nbdload: 1 to 64 connections, a depth, a size and seconds above 0 are allowed\n");
        return 2;
    }

    uint64_t disk, total = 0;
    close(connect_to_server(&disk));
    blocks = disk / (uint64_t)size;
    double start = now();
    for (intptr_t i = 0; i < connections; i++) {
        if (pthread_create(&threads[i], NULL, load, (void *)(i + 1)) != 0) {
            fail("nbdload: thread");
        }
    }

    for (int i = 0; i < connections; i++) {
        void *done;
        pthread_join(threads[i], &done);
        total += (uintptr_t)done;
    }

    printf("%llu %f\n", (unsigned long long)total, now() - start);
    return 0;
}
