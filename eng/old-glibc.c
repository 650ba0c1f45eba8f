/* What glibc has in newer versions than the one that the native file is linked for (eng/old-glibc), made of what was there before. */

typedef int main_function(int, char **, char **);
typedef void initializer(int, char **, char **);

int start_of_old(main_function *main, int argc, char **argv, initializer *init, void (*fini)(void), void (*loader_fini)(void), void *stack_end);
__asm__(".symver start_of_old, __libc_start_main@GLIBC_2.2.5");

extern initializer *__init_array_start[] __attribute__((visibility("hidden")));
extern initializer *__init_array_end[] __attribute__((visibility("hidden")));
extern void _init(void);

/* Before 2.34 the program ran its constructors itself, and Debian's crt1.o, which is newer, no longer does. */
static void construct(int argc, char **argv, char **environment)
{
    _init();
    for (initializer **next = __init_array_start; next < __init_array_end; next++)
        (*next)(argc, argv, environment);
}

/* Destructors are the loader's in all versions. */
__attribute__((visibility("hidden"))) int __libc_start_main(
    main_function *main, int argc, char **argv, initializer *init, void (*fini)(void), void (*loader_fini)(void), void *stack_end)
{
    (void)init;
    (void)fini;
    return start_of_old(main, argc, argv, construct, 0, loader_fini, stack_end);
}

/* Functions of their own since 2.33. The first argument is the layout of the structure: x86-64 has had one only. */
struct stat64;
int __xstat64(int layout, const char *path, struct stat64 *to);
int __lxstat64(int layout, const char *path, struct stat64 *to);
int __fxstat64(int layout, int file, struct stat64 *to);

__attribute__((visibility("hidden"))) int stat64(const char *path, struct stat64 *to) { return __xstat64(1, path, to); }
__attribute__((visibility("hidden"))) int lstat64(const char *path, struct stat64 *to) { return __lxstat64(1, path, to); }
__attribute__((visibility("hidden"))) int fstat64(int file, struct stat64 *to) { return __fxstat64(1, file, to); }
