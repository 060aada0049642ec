/*
 * The only C of this program: thin functions over system calls. Each returns 0 or a positive result, or -errno; EINTR is retried
 * inside. Types have fixed widths. Constants that differ between architectures stay on this side; the BM_ constants below are
 * the ones the C# side mirrors (Native/ShimConstants.cs).
 */
#ifndef BM_SHIM_H
#define BM_SHIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define _FILE_OFFSET_BITS 64

#include <errno.h>
#include <stdint.h>

#define BM_EXPORT __attribute__((visibility("default")))

/* Evaluates a system call until no signal interrupts it. */
#define BM_RETRY(result, call) \
    do { (result) = (call); } while ((result) == -1 && errno == EINTR)

/* bm_open flags */
enum {
    BM_OPEN_WRITE = 1,      /* read and write; else read only */
    BM_OPEN_CREATE = 2,     /* make the file, mode 0644; fails when the name exists */
    BM_OPEN_NOFOLLOW = 4,   /* fails when the last component is a symbolic link */
    BM_OPEN_NOATIME = 8,    /* reading leaves the access time alone; owner or CAP_FOWNER only */
    BM_OPEN_CLAIM = 16,     /* block device: fails while it is mounted or claimed, and claims it */
    BM_OPEN_DIRECT = 32     /* past the page cache; fails with BM_ERROR_INVALID where that cannot be */
};

/* bm_file_facts.type */
enum {
    BM_TYPE_OTHER = 0,
    BM_TYPE_FILE = 1,
    BM_TYPE_DIRECTORY = 2,
    BM_TYPE_BLOCK_DEVICE = 3,
    BM_TYPE_CHARACTER_DEVICE = 4,
    BM_TYPE_FIFO = 5,
    BM_TYPE_SOCKET = 6,
    BM_TYPE_SYMLINK = 7
};

/* bm_fallocate modes */
enum {
    BM_ALLOCATE = 0,        /* reserve space, growing the file where needed */
    BM_PUNCH_HOLE = 1,      /* give space back, keep the size */
    BM_ZERO_RANGE = 2       /* zero with space kept or made, keep the size */
};

/* bm_lock kinds */
enum {
    BM_LOCK_NONE = 0,
    BM_LOCK_READ = 1,
    BM_LOCK_WRITE = 2
};

/* bm_seek kinds */
enum {
    BM_SEEK_DATA = 0,
    BM_SEEK_HOLE = 1
};

/* bm_wait directions */
enum {
    BM_WAIT_READ = 0,
    BM_WAIT_WRITE = 1
};

/* bm_wait results */
enum {
    BM_WAIT_TIMED_OUT = 0,
    BM_WAIT_READY = 1,      /* a read or write, at an end too, does not wait */
    BM_WAIT_EVENT = 2       /* not so, and the event is set */
};

/* bm_replace results */
enum {
    BM_REPLACE_DONE = 0,
    BM_REPLACE_SYMLINK = 1,         /* the other one is a symbolic link */
    BM_REPLACE_NO_FILE = 2,         /* it is no regular file */
    BM_REPLACE_SEVERAL_NAMES = 3    /* the rest of its names would go on naming it */
};

/* bm_error_kind results: what a caller can act on */
enum {
    BM_ERROR_OTHER = 0,
    BM_ERROR_NOT_FOUND = 1,
    BM_ERROR_ACCESS = 2,
    BM_ERROR_EXISTS = 3,
    BM_ERROR_NO_SPACE = 4,
    BM_ERROR_WOULD_BLOCK = 5,
    BM_ERROR_UNSUPPORTED = 6,
    BM_ERROR_BUSY = 7,
    BM_ERROR_READ_ONLY_FS = 8,
    BM_ERROR_TEXT_BUSY = 9,
    BM_ERROR_IS_DIRECTORY = 10,
    BM_ERROR_LINK_LOOP = 11,
    BM_ERROR_INVALID = 12,
    BM_ERROR_NO_DATA = 13,
    BM_ERROR_NO_DEVICE = 14,
    BM_ERROR_OTHER_FS = 15
};

struct bm_file_facts {
    uint64_t size;          /* bytes; 0 for a block device, see bm_device */
    uint64_t device;        /* device that holds the inode */
    uint64_t inode;
    uint64_t blocks;        /* 512-byte units in use */
    int64_t modified_ns;    /* since 1970-01-01 UTC */
    uint32_t owner;         /* user id */
    uint32_t permissions;   /* lower 12 bits of the mode */
    uint32_t type;          /* BM_TYPE_ */
    uint32_t represents;    /* the device that a device's inode stands for, else 0; has 32 bits on Linux */
};

struct bm_device_facts {
    uint64_t bytes;
    uint64_t sequence;          /* another number for another medium, 0 where the kernel does not number them */
    uint32_t logical_sector;    /* bytes */
    uint32_t physical_sector;   /* bytes, at least logical_sector */
    uint32_t read_only;         /* 1 when writes are refused, however it was opened */
    uint32_t reserved;
};

struct bm_completion {
    uint64_t tag;
    int32_t result;         /* bytes or events, or -errno */
    uint32_t reserved;
};

struct bm_ring;

BM_EXPORT int32_t bm_open(const char *path, int32_t flags);
BM_EXPORT int32_t bm_close(int32_t fd);
BM_EXPORT int64_t bm_pread(int32_t fd, void *buffer, uint64_t length, int64_t offset);
BM_EXPORT int64_t bm_pread_nowait(int32_t fd, void *buffer, uint64_t length, int64_t offset);
BM_EXPORT int64_t bm_pwrite(int32_t fd, const void *buffer, uint64_t length, int64_t offset);
BM_EXPORT int32_t bm_fdatasync(int32_t fd);
BM_EXPORT int32_t bm_fsync_directory(const char *path);
BM_EXPORT int32_t bm_ftruncate(int32_t fd, int64_t length);
BM_EXPORT int32_t bm_fallocate(int32_t fd, int32_t mode, int64_t offset, int64_t length);
BM_EXPORT int32_t bm_lock(int32_t fd, int32_t kind, int64_t start, int64_t length);
BM_EXPORT int32_t bm_lock_test(int32_t fd, int32_t kind, int64_t start, int64_t length);
BM_EXPORT int32_t bm_stat(const char *path, int32_t follow, struct bm_file_facts *facts);
BM_EXPORT int32_t bm_fstat(int32_t fd, struct bm_file_facts *facts);
BM_EXPORT int32_t bm_in_memory(int32_t fd);
BM_EXPORT int32_t bm_device(int32_t fd, struct bm_device_facts *facts);
BM_EXPORT int32_t bm_direct_alignment(int32_t fd);
BM_EXPORT int32_t bm_discard(int32_t fd, int64_t offset, int64_t length);
BM_EXPORT int32_t bm_flush_buffers(int32_t fd);
BM_EXPORT int64_t bm_seek(int32_t fd, int32_t kind, int64_t offset);
BM_EXPORT int32_t bm_drop_cache(int32_t fd);
BM_EXPORT int32_t bm_unlink(const char *path);
BM_EXPORT int32_t bm_link_new(const char *from, const char *to);
BM_EXPORT int32_t bm_take_access(const char *path, const char *from);
BM_EXPORT int32_t bm_rename_new(const char *from, const char *to);
BM_EXPORT int32_t bm_replace(const char *from, const char *to);
BM_EXPORT int32_t bm_error_kind(int32_t error);
BM_EXPORT int32_t bm_error_text(int32_t error, char *buffer, int32_t length);
BM_EXPORT int32_t bm_io_uring_probe(void);

/* Makes a descriptor that another program opened one that calls wait on and that children do not inherit. */
BM_EXPORT int32_t bm_adopt(int32_t fd);
BM_EXPORT int32_t bm_event(void);
BM_EXPORT int32_t bm_event_set(int32_t fd);
BM_EXPORT int32_t bm_event_clear(int32_t fd);

/* Waits for a pipe or socket, for an event, or for so many milliseconds; without end when they are negative. */
BM_EXPORT int32_t bm_wait(int32_t fd, int32_t direction, int32_t event, int32_t milliseconds);
BM_EXPORT int64_t bm_read(int32_t fd, void *buffer, uint64_t length);
BM_EXPORT int64_t bm_write(int32_t fd, const void *buffer, uint64_t length);

/*
 * Moves standard input and output to other descriptors, close-on-exec. What else the program reads is empty then, and what it prints goes to
 * standard error, or nowhere when that is the same file. Output is -1 when both are one socket.
 */
BM_EXPORT int32_t bm_take_standard(int32_t *input, int32_t *output);

BM_EXPORT int32_t bm_ring_open(uint32_t entries, struct bm_ring **opened);
BM_EXPORT int32_t bm_ring_close(struct bm_ring *ring);
BM_EXPORT int32_t bm_ring_read(struct bm_ring *ring, int32_t fd, void *buffer, uint32_t length, int64_t offset, uint64_t tag);
BM_EXPORT int32_t bm_ring_poll(struct bm_ring *ring, int32_t socket, int32_t write, uint64_t tag);
BM_EXPORT int32_t bm_ring_wait(struct bm_ring *ring, int64_t timeout_ms, struct bm_completion *completions, int32_t most);
BM_EXPORT int64_t bm_recv(int32_t socket, void *buffer, uint64_t length, int32_t wait);
BM_EXPORT int64_t bm_send(int32_t socket, const void *data, uint64_t length);
BM_EXPORT uint32_t bm_user_id(void);
BM_EXPORT int64_t bm_user_by_name(const char *name);
BM_EXPORT int64_t bm_group_by_name(const char *name);
BM_EXPORT int32_t bm_change_owner(const char *path, uint32_t user, uint32_t group);
BM_EXPORT int32_t bm_terminate(int32_t process);

BM_EXPORT int32_t bm_generic_netlink(void);
BM_EXPORT int32_t bm_socket_pair(int32_t *first, int32_t *second);
BM_EXPORT int32_t bm_partition_add(int32_t fd, int32_t number, int64_t start, int64_t length);
BM_EXPORT int32_t bm_partition_remove(int32_t fd, int32_t number);
BM_EXPORT int32_t bm_io_flusher(void);
BM_EXPORT int32_t bm_io_flusher_set(int32_t on);
BM_EXPORT int32_t bm_lock_memory(void);
BM_EXPORT int32_t bm_exec(const char *path, const char *arguments, int32_t count);

/* Leaves the terminal: a session of its own, standard input, output and error on /dev/null. Irreversible. */
BM_EXPORT int32_t bm_detach(void);

#endif
