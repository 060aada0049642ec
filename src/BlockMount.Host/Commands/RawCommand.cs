using System.CommandLine;
using BlockMount.Core.Storage;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>raw</c>: disks of this host for virtual machines.</summary>
internal static class RawCommand
{
    public static Command Create(IStoreProvider provider, ImageCreator creator) =>
        new("raw", "Show this host's disks, and make descriptors that give one, or some of its partitions, to a virtual machine.")
        {
            RawListCommand.Create(provider),
            RawCreateCommand.Create(provider, creator),
        };
}
