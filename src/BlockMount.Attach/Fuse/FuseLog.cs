using System.Runtime.InteropServices;
using System.Text;

namespace BlockMount.Attach.Fuse;

/// <summary>
/// Keeps the last sentence libfuse logged on this thread, so that an error can quote it, instead of letting the library
/// print on the program's standard error.
/// </summary>
internal static unsafe class FuseLog
{
    private static delegate* unmanaged<byte*, nuint, byte*, void*, int> _vsnprintf;

    [ThreadStatic]
    private static string? _last;

    /// <summary>The last message of this thread, which is then forgotten; null when there was none.</summary>
    public static string? Take()
    {
        var last = _last;
        _last = null;
        return last;
    }

    public static void Install(nint library)
    {
        if (NativeLibrary.TryGetExport(library, "fuse_set_log_func", out var set)
            && NativeLibrary.TryGetExport(NativeLibrary.GetMainProgramHandle(), "vsnprintf", out var print))
        {
            _vsnprintf = (delegate* unmanaged<byte*, nuint, byte*, void*, int>)print;
            ((delegate* unmanaged<delegate* unmanaged<int, byte*, void*, void>, void>)set)(&Record);
        }
    }

    // A va_list parameter arrives as one pointer both on x64 (it is an array type) and on arm64 (a 32-byte structure is passed
    // by reference), and vsnprintf takes it the same way, so handing the pointer on is exact. It is used once, as va_list requires.
    [UnmanagedCallersOnly]
    private static void Record(int level, byte* format, void* arguments)
    {
        const int size = 1024;
        var text = stackalloc byte[size];
        var length = Math.Min(_vsnprintf(text, size, format, arguments), size - 1);
        if (length > 0)
        {
            _last = Encoding.UTF8.GetString(text, length).Trim();
        }
    }
}
