using System.CommandLine;
using System.Text.Json;
using BlockMount.Attach.Kernel;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;

namespace BlockMount.Host.Commands;

/// <summary><c>detach</c>: gives a device back, and returns when everything is written and gone.</summary>
internal static class DetachCommand
{
    private const string NodeMark = "/dev/nbd";
    private const string LoopMark = "/dev/loop";
    private const string OwnMark = "blockmount:";
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    public static Command Create()
    {
        var device = new Argument<string>("DEVICE|NAME") { Description = "What attach printed, or the name it was given" };
        var force = new Option<bool>("--force") { Description = "Even while it is mounted or open, or its host does not answer; what is not written yet is lost" };
        var json = CommonArguments.Json();
        var command = new Command("detach", "Detach a block device; returns when everything is on disk.") { device, force, json };
        command.SetExamples("blockmount detach /dev/nbd0", "blockmount detach disk");
        command.SetWork(async (result, cancellation) =>
        {
            var wanted = result.GetRequiredValue(device);
            var isNode = wanted.StartsWith(NodeMark, StringComparison.Ordinal);
            var isAttached = AttachRecord.ReadAll().Any(r => r.Record.FindNode() is { } n && (isNode ? n.Path == wanted : r.Record.Name == wanted));
            if (!(isNode && isAttached) && await HostOfAsync(wanted, cancellation) is var (host, export))
            {
                if (isAttached)
                {
                    throw new DiskException(ErrorKind.InvalidArgument, $"{wanted}: {export.Device} and another device have that name; name the device.");
                }

                return await DetachAsync(host, export, result.GetValue(force), result.GetValue(json), cancellation);
            }

            var (node, record) = Find(wanted);
            var backend = node.Backend;
            var isServed = record is { IsServed: true };
            if (isServed && !result.GetValue(force))
            {
                await RunningHosts.StopAsync(record!.Pid, cancellation);
            }
            else
            {
                if (record is { CanRecover: true } && !result.GetValue(force) && AttachRecord.HasLog(record))
                {
                    throw new DiskException(
                        ErrorKind.Busy, $"{node.Path}: its host ended without writing everything to {record.Image}; blockmount attach --recover {node.Path} goes on with it, --force gives that up.") { Path = node.Path };
                }

                await node.DetachAsync(backend, result.GetValue(force), cancellation);
                await EndOfHostAsync(record, cancellation);
            }

            if (result.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(new DetachDocument(node.Path, backend), JsonModels.Default.DetachDocument));
            }
            else
            {
                Console.WriteLine(isServed ? $"{node.Path}: detached, everything is written." : $"{node.Path}: detached; its host had ended before.");
            }

            return ExitCode.Done;
        });
        return command;
    }

    /// <summary>The running host of a loop device, or of a server's export that is a device, and that export; null when none is meant.</summary>
    private static async Task<(HostStatus Host, ExportFacts Export)?> HostOfAsync(string wanted, CancellationToken cancellationToken)
    {
        var hosts = await RunningHosts.ListAsync(cancellationToken);
        var loops = hosts.Where(static h => h.Command == "attach" && h.Devices is [{ } device] && device.StartsWith(LoopMark, StringComparison.Ordinal))
            .Select(static h => (Host: h, Export: h.Exports[0] with { Device = h.Devices[0] }));
        var served = hosts.Where(static h => h.Command == "serve").SelectMany(static h => h.Exports, static (h, e) => (Host: h, Export: e)).Where(static p => p.Export.Device is not null);
        var found = loops.Concat(served).Where(p => p.Export.Name == wanted || p.Export.Device == wanted).ToList();
        return found.Count < 2
            ? found.Count == 1 ? found[0] : null
            : throw new DiskException(ErrorKind.InvalidArgument, $"{wanted}: {string.Join(" and ", found.Select(static p => p.Export.Device))} have that name; name the device.");
    }

    private static async Task<int> DetachAsync(HostStatus host, ExportFacts export, bool force, bool json, CancellationToken cancellationToken)
    {
        var device = export.Device!;
        if (force)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{device}: --force is for hosts that do not answer, and process {host.Pid} does; end what uses the device first.") { Path = device };
        }

        if (host.Command == "attach")
        {
            await RunningHosts.StopAsync(host.Pid, cancellationToken);
        }
        else
        {
            await RunningHosts.AskAsync(
                host.Pid, client => client.SendAsync(HttpMethod.Post, ControlClient.ExportRoute(export.Name, "detach"), null, JsonModels.Default.DoneDocument, cancellationToken), cancellationToken);
        }

        Console.WriteLine(json ? JsonSerializer.Serialize(new DetachDocument(device, export.Image), JsonModels.Default.DetachDocument) : $"{device}: detached, everything is written.");
        return ExitCode.Done;
    }

    private static (NbdNode Node, AttachRecord? Record) Find(string wanted)
    {
        var records = AttachRecord.ReadAll().Select(static r => (r.Record, Node: r.Record.FindNode())).Where(static r => r.Node is not null).ToList();
        var node = NbdNode.Parse(wanted) is { } parsed && (wanted.StartsWith("nbd", StringComparison.Ordinal) || wanted.StartsWith('/')) ? parsed : (NbdNode?)null;
        var found = records.Where(r => r.Record.Name == wanted || r.Node == node).OrderByDescending(static r => r.Record.IsServed).ToList();
        if (found.Select(static r => r.Node).Distinct().Count() > 1)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{wanted}: {string.Join(" and ", found.Select(static r => r.Node).Distinct().Select(static n => n?.Path))} have that name; name the device.");
        }

        if (found.Count > 0)
        {
            return (found[0].Node!.Value, found[0].Record);
        }

        if (node is not { } other)
        {
            throw new DiskException(ErrorKind.NotFound, $"{wanted}: no device of that name was attached by this user's blockmount; blockmount list shows what is.");
        }

        if (!other.IsAttached)
        {
            throw new DiskException(ErrorKind.NotFound, $"{other.Path}: nothing is attached to it.") { Path = other.Path };
        }

        return other.Backend.StartsWith(OwnMark, StringComparison.Ordinal)
            ? (other, null)
            : throw new DiskException(ErrorKind.NotFound, $"{other.Path}: blockmount did not attach it{(other.Backend.Length > 0 ? $" (it shows '{other.Backend}')" : "")}; use the program that did.") { Path = other.Path };
    }

    /// <summary>Its host flushes, which may take a while, and ends.</summary>
    private static async Task EndOfHostAsync(AttachRecord? record, CancellationToken cancellationToken)
    {
        if (record is null)
        {
            return;
        }

        for (var deadline = Environment.TickCount64 + (long)Patience.TotalMilliseconds; record.IsServed && Environment.TickCount64 < deadline;)
        {
            await Task.Delay(50, cancellationToken);
        }

        foreach (var (file, left) in AttachRecord.ReadAll().Where(r => !r.Record.IsServed && r.Record.Backend == record.Backend && r.Record.FindNode() is null))
        {
            left.Forget(Path.GetDirectoryName(file)!);
        }
    }
}
