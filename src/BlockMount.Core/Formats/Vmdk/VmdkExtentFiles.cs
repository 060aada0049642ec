using BlockMount.Core.Compression;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>
/// Opens the files that a descriptor names. Their names are hostile: a file must lie directly in the descriptor's folder (a folder between
/// could be a link to elsewhere) or below one that the user allows, and must be a regular file. Block devices may lie anywhere, and are
/// opened when the user allows devices.
/// </summary>
internal sealed class VmdkExtentFiles : IAsyncDisposable
{
    private readonly Dictionary<string, ByteStore> _open = new(StringComparer.Ordinal);
    private readonly ByteStore _image;
    private readonly ImageContext _context;
    private readonly string _folder;
    private readonly VmdkPlaces _places;

    /// <param name="image">The descriptor's own file.</param>
    /// <param name="context">What may be reached.</param>
    /// <param name="lines">All extents; a file that one of them writes to is opened for writing.</param>
    public VmdkExtentFiles(ByteStore image, ImageContext context, IEnumerable<VmdkExtentLine> lines)
    {
        _image = image;
        _context = context;
        _folder = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(image.Name)) ?? "/";
        _places = new VmdkPlaces(context, lines.Where(static l => l.Type != VmdkExtentType.Zero && l.Access != VmdkAccess.NoAccess), FullPath, image.CanWrite);
    }

    /// <summary>What compressed grains are inflated with.</summary>
    public ZlibCodec Zlib => _context.Provider.Zlib;

    /// <summary>The files opened so far; the caller takes them over when the image is complete.</summary>
    public IReadOnlyCollection<ByteStore> Stores => _open.Values;

    /// <summary>The file of an extent; one that several extents name is opened once.</summary>
    /// <param name="line">The extent.</param>
    /// <param name="cancellationToken">Stops before the file is opened.</param>
    /// <exception cref="DiskException">It is missing, neither a regular file nor a device that is allowed, in use, or lies where it may not.</exception>
    public async ValueTask<ByteStore> OpenAsync(VmdkExtentLine line, CancellationToken cancellationToken)
    {
        RequireHostsName(line);
        var options = HowToOpen(FullPath(line), Path.IsPathRooted(line.FileName), line);
        var place = _places[line];
        var path = place.Path;
        if (_open.TryGetValue(path, out var known))
        {
            return known;
        }

        try
        {
            var store = await _context.Provider.OpenAsync(
                path, _places.Written.Contains(path) ? StoreAccess.Write : StoreAccess.Read, place.IsHostPath ? StoreOpenOptions.OnlyDevice : options, cancellationToken);
            _open.Add(path, store);
            return place.NodeLength is not { } length || store.Length == length
                ? store
                : throw new DiskException(
                    ErrorKind.BrokenChain, $"{_image.Name}: {ShownText.Path(path)} has {store.Length} bytes and had {length} a moment before; open the image again when nobody changes the disk.") { Path = path };
        }
        catch (DiskException e) when (e.Kind == ErrorKind.NotFound)
        {
            throw new DiskException(ErrorKind.NotFound, $"{_image.Name}: its extent {ShownText.Path(path)} is missing; put the file there.", e) { Path = path };
        }
    }

    /// <summary>Where the bytes of an extent that is opened are.</summary>
    public VmdkPlace PlaceOf(VmdkExtentLine line) => _places[line];

    /// <summary>Opens the disk that the image was made of, to look at it alone; null when this user may not read it.</summary>
    /// <param name="disk">Full path.</param>
    /// <param name="cancellationToken">Stops before it is opened.</param>
    /// <exception cref="DiskException">It is missing, lies where it may not, or the host failed.</exception>
    public async ValueTask<ByteStore?> ProbeAsync(string disk, CancellationToken cancellationToken)
    {
        var options = HowToOpen(disk, rooted: true, line: null);
        try
        {
            return await _context.Provider.OpenAsync(disk, StoreAccess.Probe, options, cancellationToken);
        }
        catch (DiskException e) when (e.Kind == ErrorKind.AccessDenied)
        {
            return null;
        }
        catch (DiskException e) when (e.Kind == ErrorKind.NotFound)
        {
            throw new DiskException(ErrorKind.NotFound, $"{_image.Name}: the disk {ShownText.Path(disk)} that it was made of is missing; attach it, or make the image again with raw create.", e) { Path = disk };
        }
    }

    /// <summary>What the host tells of a device that the user allows; null for anything else.</summary>
    public DeviceFacts? Describe(string path) => _context.AllowDevices ? _context.Provider.DescribeDevice(path) : null;

    /// <summary>Full path of the file that an extent names, wherever it lies.</summary>
    public string FullPath(VmdkExtentLine line) => System.IO.Path.GetFullPath(System.IO.Path.Combine(_folder, line.FileName));

    public async ValueTask DisposeAsync()
    {
        foreach (var store in _open.Values)
        {
            await store.DisposeAsync();
        }
    }

    /// <exception cref="DiskException"><see cref="ErrorKind.AccessDenied"/> when it lies where it may not, or is a device and devices are not allowed.</exception>
    private StoreOpenOptions HowToOpen(string path, bool rooted, VmdkExtentLine? line)
    {
        if (string.Equals(path, System.IO.Path.GetFullPath(_image.Name), StringComparison.Ordinal))
        {
            throw DiskErrors.Corrupt(_image.Name, "the VMDK descriptor names its own file as an extent.");
        }

        if (_context.Provider.DeviceExists(path))
        {
            CheckDevice(path, line);

            // Links such as those of /dev/disk/by-id are followed for a name that is given in full; behind them must be a device.
            if (rooted)
            {
                return StoreOpenOptions.OnlyDevice;
            }
        }

        var folder = System.IO.Path.GetDirectoryName(path);
        return string.Equals(folder, _folder, StringComparison.Ordinal) || _context.AllowPaths.Any(root => StorePaths.IsInside(path, System.IO.Path.GetFullPath(root)))
            ? StoreOpenOptions.NoFinalSymlink | (_context.AllowDevices ? StoreOpenOptions.AllowDevice : StoreOpenOptions.None)
            : throw new DiskException(
                ErrorKind.AccessDenied,
                $"{_image.Name}: its {(line is null ? "disk" : "extent")} {ShownText.Path(path)} lies outside {_folder}; add --allow-path {ShownText.Path(folder ?? "/")} if that is right.") { Path = _image.Name };
    }

    /// <summary>Names such as <c>\\.\PhysicalDrive0</c> would be those of files here.</summary>
    private void RequireHostsName(VmdkExtentLine line)
    {
        if (line.FileName.StartsWith(@"\\.\", StringComparison.Ordinal) || line.FileName.StartsWith(@"\\?\", StringComparison.Ordinal))
        {
            throw DiskErrors.Unsupported(
                _image.Name, $"its extent {ShownText.Path(line.FileName)} is a device of a Windows host, which this host does not have; make the image again here.");
        }
    }

    private void CheckDevice(string path, VmdkExtentLine? line)
    {
        var name = ShownText.Path(path);
        if (line is not null && line.Type != VmdkExtentType.Flat)
        {
            throw DiskErrors.Unsupported(_image.Name, $"its {line.TypeName} extent {name} is a block device; only a FLAT one may be.");
        }

        if (!_context.AllowDevices)
        {
            throw new DiskException(
                ErrorKind.AccessDenied, $"{_image.Name}: its {(line is null ? "disk" : "extent")} {name} is a block device of this host; add --allow-devices if that is right.") { Path = _image.Name };
        }
    }
}
