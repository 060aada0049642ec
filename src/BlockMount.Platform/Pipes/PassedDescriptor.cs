using BlockMount.Core.Errors;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Pipes;

/// <summary>Descriptors that another program opened for this one.</summary>
public static class PassedDescriptor
{
    /// <summary>
    /// Keeps programs that this one starts from inheriting it, and makes calls on it wait: the runtime takes a descriptor for a blocking one
    /// without looking.
    /// </summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/> when it is not open.</exception>
    public static void Adopt(int descriptor)
    {
        var result = Shim.Adopt(descriptor);
        if (result < 0)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"Descriptor {descriptor}, which was passed on, cannot be used: {HostErrors.TextOf(result)}.");
        }
    }
}
