using System.CommandLine;
using BlockMount.Host.Images;
using BlockMount.Platform.Files;

namespace BlockMount.Host.Commands;

/// <summary>Composes the program: the only place that knows every part.</summary>
internal static class CommandTree
{
    public static RootCommand Create()
    {
        var provider = new FileStoreProvider();
        var opener = new ImageOpener(provider);
        var creator = new ImageCreator(provider);
        return new RootCommand("Opens virtual disk chains (VDI, VMDK, VHD, raw) and gives them to this host as drives.")
        {
            CreateCommand.Create(opener, creator),
            InfoCommand.Create(opener),
            MapCommand.Create(opener),
            PartitionsCommand.Create(opener),
            CheckCommand.Create(opener),
            SetCommand.Create(opener),
            MergeCommand.Create(opener),
            CompactCommand.Create(opener),
            ResizeCommand.Create(opener),
            ConvertCommand.Create(opener, creator, provider),
            MoveCommand.Create(provider),
            FormatsCommand.Create(),
            ServeCommand.Create(opener),
            AttachCommand.Create(opener, provider),
            DetachCommand.Create(),
            MountCommand.Create(opener),
            UnmountCommand.Create(),
            SnapshotCommand.Create(),
            ExportCommand.Create(),
            ReadOnlyCommand.Create(),
            ReloadCommand.Create(),
            DrainCommand.Create(),
            ListCommand.Create(),
            ListCommand.CreateStatus(),
            DoctorCommand.Create(),
            RawCommand.Create(provider, creator),
            DemoCommand.Create(),
            CompletionCommand.Create(),
            RunningCommand.Create(),
            ManPagesCommand.Create(),
        };
    }
}
