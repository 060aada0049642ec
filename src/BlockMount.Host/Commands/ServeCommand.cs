using System.CommandLine;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>serve</c>: images over NBD until SIGTERM or Ctrl+C, or until the clients that were passed to it are done.</summary>
internal static class ServeCommand
{
    private const string UsualConfig = "blockmount.json";

    public static Command Create(ImageOpener opener)
    {
        var images = new Argument<string[]>("IMAGE") { Arity = ArgumentArity.ZeroOrMore, Description = "One export each, NAME=IMAGE to name it; the first is also the default export" };
        var socket = OptionRules.NotEmpty(new Option<string?>("--socket", "-k") { Description = "Unix socket; default NAME.sock in the run directory", HelpName = "PATH" });
        var tcp = OptionRules.NotEmpty(new Option<string?>("--tcp") { Description = "Listen on a TCP port too; NBD has no protection of its own, see --tls-certificates", HelpName = "ADDR:PORT" });
        var stdio = new Option<bool>("--stdio") { Description = "Serve the one client on standard input and output, then end" };
        var connections = new Option<int?>("--max-connections", "-e", "--shared") { Description = $"Clients at a time, default {ServeDefaults.MaxConnections}, 0 for no limit", HelpName = "N" };
        var discard = new Option<string?>("--discard") { Description = "What trims do: unmap or on gives space back (default for files), ignore or off refuses them (default for block devices)", HelpName = "ignore|unmap" };
        discard.AcceptOnlyFromAmong("ignore", "unmap", "off", "on");
        var depth = new Option<bool>("--allocation-depth", "-A") { Description = "Offer qemu:allocation-depth: which image of the chain holds a block" };
        var name = new Option<string?>("--export-name", "-x") { Description = "Name of the (first) export", HelpName = "NAME" };
        var description = new Option<string?>("--description", "-D") { Description = "Description of the exports; default says what each is", HelpName = "TEXT" };
        var config = OptionRules.NotEmpty(new Option<string?>("--config") { Description = "JSON file, read again on SIGHUP; default blockmount.json in the working folder when no image is named: exports (name, image, read_only, overlay, partition, offset, size, description, discard, allocation_depth, partitions, format, search), socket, socket_mode, socket_owner, allow_uid, tcp, max_connections, discard, allocation_depth", HelpName = "FILE" });
        var partitions = new Option<bool>("--export-partitions") { Description = "Each partition is an export too, NAME-p1 and so on, over the same disk" };
        var fork = new Option<bool>("--fork") { Description = "Return when clients can connect, and go on in the background" };
        var pidFile = OptionRules.NotEmpty(new Option<string?>("--pid-file") { Description = "Holds the number of the process that serves, from before \"ready\" to the end", HelpName = "FILE" });
        var verbose = new Option<bool>("--verbose", "-v") { Description = "Log clients coming and going" };
        var logFormat = new Option<string?>("--log-format") { Description = "How what is logged is written to standard error: text (default), or json, one object a line", HelpName = "text|json" };
        logFormat.AcceptOnlyFromAmong("text", "json");
        var persistent = new Option<bool>("--persistent", "-t") { Description = "Accepted for qemu-nbd's sake: this server always stays" };
        var child = new Option<bool>(BackgroundLauncher.ChildOption) { Hidden = true };
        var tls = new TlsOptions();
        var options = new ImageOptions();
        var modes = new ExportModeOptions();
        var access = new SocketAccessOptions();
        var qemu = new QemuNbdOptions();
        var command = new Command("serve", "Serve disks over NBD; prints the URI, then \"ready\".")
        {
            images, socket, tcp, stdio, connections, discard, depth, name, description, partitions, config, fork, pidFile, verbose, logFormat, persistent, child,
        };
        tls.AddTo(command);
        options.AddTo(command);
        modes.AddTo(command);
        access.AddTo(command);
        qemu.AddTo(command, options);
        command.SetExamples(
            "blockmount serve leaf.vdi", "blockmount serve --read-only -k /tmp/disk.sock leaf.vdi", "blockmount serve a=one.vdi b=two.vmdk --mode a=ro --mode b=overlay",
            "blockmount serve --export-partitions disk.vdi",
            "blockmount serve --tcp 0.0.0.0:10809 --tls-certificates /etc/pki/blockmount --tls-verify-peer leaf.vdi");
        command.SetWork(async (result, cancellation) =>
        {
            var isStdio = result.GetValue(stdio);
            if (isStdio && result.GetValue(fork))
            {
                throw NotWithStdio("--fork");
            }

            if (result.GetValue(fork) && !result.GetValue(child))
            {
                return await BackgroundLauncher.StartAsync(cancellation);
            }

            qemu.Check(result);
            var configPath = ConfigPath(result.GetValue(config), result.GetValue(images) ?? []);
            var file = configPath is { } path ? await ServeConfig.ReadAsync(path, cancellation) : new ServeConfig();
            var limit = isStdio ? 1 : result.GetValue(connections) ?? file.MaxConnections ?? ServeDefaults.MaxConnections;
            var tcpAddress = TcpOf(result.GetValue(tcp), qemu.Tcp(result)) ?? file.Tcp;
            var socketPath = result.GetValue(socket) ?? file.Socket;
            var open = modes.Apply(result, options.Read(result));
            var all = AllOf(file);
            var request = new ServeRequest
            {
                Exports = ExportsOf(result.GetValue(images) ?? [], result.GetValue(name), file, all),
                ForAll = all,
                ReadAgain = configPath is null ? null : ReadAgainAsync,
                Modes = modes.Read(result),
                Socket = socketPath,
                Access = access.Read(result, file, socketPath, tcpAddress),
                Tcp = tcpAddress,
                Tls = tls.Read(result),
                Stdio = isStdio,
                UseThreads = qemu.UseThreads(result),
                MaxConnections = limit == 0 ? int.MaxValue : limit,
                PidFile = result.GetValue(pidFile),
                InBackground = result.GetValue(child),
                Verbose = result.GetValue(verbose),
                LogsJson = result.GetValue(logFormat) == "json",
            };
            if (all.Trim == false && open.Spared == ThriftyWrites.ZeroesFreeSpace)
            {
                throw new DiskException(ErrorKind.InvalidArgument, "--detect-zeroes=unmap gives space back, and --discard says not to; use --detect-zeroes=on, or --discard unmap.");
            }

            if (limit < 0)
            {
                throw new DiskException(ErrorKind.InvalidArgument, $"--max-connections {limit}: allowed is 0 (no limit) or more.");
            }

            if (isStdio && (request.Socket ?? request.Tcp) is not null)
            {
                throw NotWithStdio(request.Socket is not null ? "a Unix socket (--socket)" : "a TCP port (--tcp)");
            }

            if (isStdio && !(Console.IsInputRedirected && Console.IsOutputRedirected))
            {
                throw new DiskException(ErrorKind.InvalidArgument, "--stdio speaks NBD on standard input and output, which are no terminals then: run it from the program that is the client.");
            }

            await ServeHost.RunAsync(opener, request, cancellation);
            return ExitCode.Done;

            // What holds for exports that say nothing; the command line comes first.
            ExportRequest AllOf(ServeConfig said) => new()
            {
                Image = string.Empty,
                Open = open with { Chain = open.Chain with { Format = QemuNbdOptions.Format(open.Chain.Format) } },
                Trim = (result.GetValue(discard) ?? said.Discard) is { } word ? word is "unmap" or "on" : null,
                AllocationDepth = result.GetValue(depth) || (said.AllocationDepth ?? false),
                Description = result.GetValue(description),
                Partitions = result.GetValue(partitions),
            };

            async Task<IReadOnlyList<ExportRequest>> ReadAgainAsync(CancellationToken cancel)
            {
                var now = await ServeConfig.ReadAsync(configPath!, cancel);
                if (file.FixedSettingChangedIn(now) is { } changed)
                {
                    throw new DiskException(ErrorKind.InvalidArgument, $"{configPath}: {changed} has changed, which needs a new start; nothing was changed.");
                }

                return ExportsOf(result.GetValue(images) ?? [], result.GetValue(name), now, AllOf(now));
            }
        });
        return command;
    }

    /// <summary>The file named; with no file and no image, the one of the usual name in the working folder, which is said.</summary>
    private static string? ConfigPath(string? named, string[] images)
    {
        if (named is null && images.Length == 0 && File.Exists(UsualConfig))
        {
            Console.Error.WriteLine($"blockmount: no image is named; serving what {Path.GetFullPath(UsualConfig)} says.");
            named = UsualConfig;
        }

        return named is null ? null : Path.GetFullPath(named);
    }

    private static DiskException NotWithStdio(string other) =>
        new(ErrorKind.InvalidArgument, $"--stdio serves the one client on standard input and output; it does not go with {other}.");

    private static string? TcpOf(string? tcp, string? qemu) => tcp is not null && qemu is not null
        ? throw new DiskException(ErrorKind.InvalidArgument, "--tcp says where to listen, and so do --port and --bind; give one of the two.")
        : tcp ?? qemu;

    private static List<ExportRequest> ExportsOf(IReadOnlyList<string> arguments, string? firstName, ServeConfig file, ExportRequest all)
    {
        var exports = arguments.Select(Split).Select(a => all with { Name = a.Name, Image = a.Image }).Concat(file.Exports.Select(e => e.Over(all))).ToList();
        if (exports.Count == 0)
        {
            throw new DiskException(ErrorKind.InvalidArgument, "Nothing to serve: name an image, or a --config file with exports.");
        }

        if (firstName is not null)
        {
            exports[0] = exports[0] with { Name = firstName };
        }

        return exports;
    }

    /// <summary>A path may contain an equals sign, so a file of the whole name wins.</summary>
    private static (string? Name, string Image) Split(string argument)
    {
        var mark = argument.IndexOf('=', StringComparison.Ordinal);
        return mark < 1 || argument[..mark].Contains('/', StringComparison.Ordinal) || File.Exists(argument)
            ? (null, argument)
            : (argument[..mark], argument[(mark + 1)..]);
    }
}
