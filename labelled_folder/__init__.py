"""Is a folder of images and labels right, and how does a published data set become one?"""
