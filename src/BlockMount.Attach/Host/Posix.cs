using System.Runtime.InteropServices;
using System.Text;
using BlockMount.Core.Errors;

namespace BlockMount.Attach.Host;

/// <summary>The few libc facts that .NET does not tell.</summary>
internal static unsafe class Posix
{
    public static uint EffectiveUserId => ((delegate* unmanaged<uint>)Find("geteuid"))();

    public static uint EffectiveGroupId => ((delegate* unmanaged<uint>)Find("getegid"))();

    public static bool IsRoot => OperatingSystem.IsLinux() && EffectiveUserId == 0;

    /// <summary>The path without symbolic links, as the mount table shows it; the full path when something in it does not exist.</summary>
    public static string RealPath(string path)
    {
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        fixed (byte* name = Encoding.UTF8.GetBytes(full + '\0'))
        {
            // With a null buffer realpath allocates the answer, which is freed here with C's free.
            var resolved = ((delegate* unmanaged<byte*, byte*, byte*>)Find("realpath"))(name, null);
            var answer = resolved is null ? full : Marshal.PtrToStringUTF8((nint)resolved) ?? full;
            NativeMemory.Free(resolved);
            return answer;
        }
    }

    private static nint Find(string name) => NativeLibrary.TryGetExport(NativeLibrary.GetMainProgramHandle(), name, out var address)
        ? address
        : throw new DiskException(ErrorKind.HostLacks, $"The C library of this host has no function {name}.");
}
