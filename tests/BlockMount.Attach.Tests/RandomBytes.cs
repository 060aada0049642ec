using BlockMount.TestSupport;

namespace BlockMount.Attach.Tests;

internal static class RandomBytes
{
    /// <summary>A device with content that no two pages share.</summary>
    public static MemoryDevice Device(int length, bool readOnly = false, int alignment = 1)
    {
        var device = new MemoryDevice(length, readOnly, alignment);
        new Random(length).NextBytes(device.Bytes);
        return device;
    }

    public static byte[] Of(int length, int seed)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
