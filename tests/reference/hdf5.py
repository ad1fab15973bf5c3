# Makes hdf5.h5, whose numbers HDF5Tests knows: element [i, j, k] of every dataset of shape (5, 3, 4) is 100 i + 10 j + k (less 3 where it may
# be negative), 0/1 for booleans. Needs h5py; `python3 hdf5.py` in this folder.
import h5py
import numpy

i, j, k = numpy.meshgrid(range(5), range(3), range(4), indexing="ij")
numbers = 100 * i + 10 * j + k

with h5py.File("hdf5.h5", "w") as file:
    for name in ["f2", "f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8"]:
        less = 0 if name[0] == "u" else 3
        for order, mark in [("little", "<"), ("big", ">")]:
            file[f"{order}/{name}"] = (numbers - less).astype(mark + name)
    file["small/i1"] = (10 * j + k - 3).astype("i1") + 0 * i.astype("i1")
    file["small/u1"] = (10 * j + k + 100).astype("u1") + 0 * i.astype("u1")
    file.create_dataset("chunked", data=(numbers - 3).astype("f4"), chunks=(2, 2, 3))
    file.create_dataset("zipped", data=(numbers - 3).astype("f8"), chunks=(1, 3, 4), compression="gzip", shuffle=True)
    file.create_dataset("text", data="not a number")
    file["last"] = (numbers - 3).astype("f4").transpose(1, 2, 0)
